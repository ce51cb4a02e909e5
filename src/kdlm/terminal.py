"""Words on a terminal: names of jobs, durations, and text of strangers, which can draw nothing."""

from collections.abc import Mapping

__all__ = ["name_job", "printable", "spell_time"]

_NOT_WORDS = ("inf", "nan", "true", "false", "none")
"""Values of keys that say nothing without the key."""


def printable(text: object) -> str:
    r"""``text`` on one line, with all that a terminal would obey or hide written as an escape.

    Escapes of the terminal, line breaks, changes of the writing direction and lone surrogates are
    spelt out; letters of any script stay.

    >>> printable("ü: \x1b[2K\rL0 holds")
    'ü: \\x1b[2K\\rL0 holds'
    """
    # repr escapes every character that is not printable, and this way no quote or backslash
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(text))


def name_job(kind: str, keys: Mapping[str, str]) -> str:
    """Return a short name of a job: what it does, and the values of its keys.

    Words stand alone; numbers follow their key. A 0 is left out, unless it is the last value.

    >>> name_job("distill", {"architecture": "resnet8", "loss": "kd", "temperature": "4",
    ...                      "mean_gap": "0", "seed": "0"})
    'distill resnet8 kd temperature=4 seed=0'
    """
    words = [kind]
    for position, (key, value) in enumerate(keys.items(), start=1):
        if value == "0" and position < len(keys):
            continue
        word = value[:1].isalpha() and value not in _NOT_WORDS
        words.append(value if word else f"{key}={value}")
    return " ".join(words)


def spell_time(seconds: float) -> str:
    """Return a duration in the two units that a reader needs of it.

    >>> [spell_time(seconds) for seconds in (0.4, 59.6, 3599, 7260, 360_000)]
    ['0 s', '1 min 00 s', '59 min 59 s', '2 h 01 min', '4 d 04 h']
    """
    whole = round(max(seconds, 0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 2 * 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02} h"
