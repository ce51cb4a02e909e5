"""The one error that is the user's to mend."""

__all__ = ["InputError"]


class InputError(ValueError):
    """A bad value in a config, a command line or a file; the message names it and the remedy.

    The command line prints it as one line. Anything else that is raised is a fault of the program
    and keeps its traceback.
    """
