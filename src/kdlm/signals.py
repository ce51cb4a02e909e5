"""Recording the signals that ask a training to stop, so that it stops where it can be resumed."""

import signal
from types import FrameType

__all__ = ["install_handlers", "received"]

# A scheduler sends SIGTERM at the time limit and at preemption, Ctrl-C sends SIGINT, and SIGUSR2 is
# submitit's signal for a requeue. The handlers are installed in this order, so a process that is
# seen to have a handler for SIGUSR2 has all of them.
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)

_received: list[int] = []


def _note(number: int, _frame: FrameType | None) -> None:
    _received.append(number)


def install_handlers() -> None:
    """Install handlers that record SIGTERM, SIGINT and SIGUSR2 instead of ending the process.

    Call this before torch is imported: the import takes seconds, and a signal can arrive meanwhile.
    """
    for number in _HANDLED:
        signal.signal(number, _note)


def received() -> signal.Signals | None:
    """Return the first signal since `install_handlers` was called; None while there is none."""
    return signal.Signals(_received[0]) if _received else None
