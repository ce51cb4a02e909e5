"""The one error that is the user's to mend, and how its message is shown."""

__all__ = ["InputError", "printable"]

_MOST = 10_000
"""Characters of a message: enough for the names of a hundred files."""


class InputError(ValueError):
    """A bad value in a config, a command line or a file; the message names it and the remedy.

    The command line prints it as one line. Anything else that is raised is a fault of the program
    and keeps its traceback.
    """


def printable(text: str) -> str:
    r"""A message as one line: what would end it, or move a terminal's cursor, is spelt out.

    >>> print(printable("no file a\nb"))
    no file a\nb
    """
    shown = text if len(text) <= _MOST else f"{text[:_MOST]}…"
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in shown
    )
