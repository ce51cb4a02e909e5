"""The one kind of error that the user can put right."""

__all__ = ["InputError"]


class InputError(ValueError):
    """A config, a command line or a file is wrong; each problem says where, and what to do.

    The command line prints one line for each problem. Any other exception is a fault of the
    program, and is printed with its traceback.

    >>> str(InputError("threads: a whole number is needed", "arms: this key is needed"))
    'threads: a whole number is needed; arms: this key is needed'

    Attributes:
        problems: one line for each problem, in the order in which to mend them.

    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
