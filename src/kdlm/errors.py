"""The one kind of error that the user can put right."""

__all__ = ["InputError"]


class InputError(ValueError):
    """A config, a command line or a file is wrong; the message says where, and what to do.

    The command line prints the message as one line. Any other exception is a fault of the program,
    and is printed with its traceback.
    """
