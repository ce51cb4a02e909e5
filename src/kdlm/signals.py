"""Signals that ask a training to stop: noted, and heeded where it can go on later."""

import signal
from types import FrameType

__all__ = ["heed", "received"]

# a scheduler's end of time and preemption, submitit's requeue, Ctrl-C
_HEEDED = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)

_received: list[int] = []


def _note(number: int, _frame: FrameType | None) -> None:
    _received.append(number)


def heed() -> None:
    """From now on note SIGTERM, SIGUSR2 and SIGINT instead of ending at once.

    Call it before torch is imported, which takes seconds in which a signal may arrive.
    """
    for number in _HEEDED:
        signal.signal(number, _note)


def received() -> signal.Signals | None:
    """The first signal that was noted, None while there is none."""
    return signal.Signals(_received[0]) if _received else None
