"""Text of strangers on a terminal: what is not printable is escaped, so it can draw nothing."""

__all__ = ["printable"]


def printable(text: object) -> str:
    r"""``text`` on one line, with all that a terminal would obey or hide written as an escape.

    Escapes of the terminal, line breaks, changes of the writing direction and lone surrogates are
    spelt out; letters of any script stay.

    >>> printable("ü: \x1b[2K\rL0 holds")
    'ü: \\x1b[2K\\rL0 holds'
    """
    # repr escapes every character that is not printable, and this way no quote or backslash
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(text))
