"""Turning pydantic's validation errors into lines that name the key, in a user's words."""

import difflib
import re
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

__all__ = ["Location", "complaints", "dotted", "marked", "nearest", "refuse"]

Location = tuple[int | str, ...]

_MOST = 20
"""Largest number of problems that are listed; more would hide the first."""

_SHORT = 3
"""Length of names that are resembled by too many others, as lm is by kl."""

_FORMS = {
    "[0-9a-f]{64}": "a text of 64 hexadecimal digits",
    "[A-Za-z0-9][A-Za-z0-9_.]*": "a name of letters, digits, _ and ., a letter or digit first,",
    "[A-Za-z0-9][A-Za-z0-9_.-]*": "a name of letters, digits, _, . and -, a letter or digit first,",
}
"""What a text may consist of, by the pattern without its anchors."""


class _Truth:
    """A true or false where none belongs; no type of a key accepts it."""

    def __init__(self, value: bool) -> None:
        self.spelt = str(value).lower()


def marked(value: Any) -> Any:
    """Return a value of a key that is not boolean, with every true and false made unacceptable."""
    if isinstance(value, bool):
        return _Truth(value)
    if isinstance(value, (list, tuple)):
        return [_Truth(one) if isinstance(one, bool) else one for one in value]
    return value


def refuse(model: type[BaseModel], problems: Iterable[tuple[Location, str]]) -> None:
    """Raise all problems that a validator has found, each at its own key; do nothing for none.

    Args:
        model: the model that is being validated.
        problems: location, relative to the model, and message of each problem.

    Raises:
        ValidationError: there is a problem.

    """
    found: list[InitErrorDetails] = [
        {"type": PydanticCustomError("problem", "{text}", {"text": text}), "loc": where, "input": 0}
        for where, text in problems
    ]
    if found:
        raise ValidationError.from_exception_data(model.__name__, found)


def nearest(given: object, known: Collection[str]) -> str | None:
    """Return the known name that resembles ``given`` most; None if none does.

    >>> nearest("resnet-20", ["resnet8", "resnet20"])
    'resnet20'
    """
    # letters of a name can be written large, and a hyphen as an underscore
    alike = {name.lower().replace("_", "-"): name for name in known}
    spelt = str(given).lower().replace("_", "-")
    if len(spelt) <= _SHORT:
        return alike.get(spelt)
    near = difflib.get_close_matches(spelt, alike, n=1, cutoff=0.6)
    return alike[near[0]] if near else None


def _known_at(model: type[BaseModel], location: Location) -> list[str]:
    """Return the keys that the model has at ``location``.

    Args:
        model: the model that was validated.
        location: the path of the mapping that has an unknown key, without that key.

    """
    kind: Any = model
    for part in location:
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            # For an element of a tuple or a value of a dict, the model is the last type argument.
            kind = _model_in(kind)
        else:
            kind = kind.model_fields[str(part)].annotation
    while not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        kind = _model_in(kind)
    return list(kind.model_fields)


def _model_in(kind: Any) -> Any:
    """Return the last type argument that can hold keys."""
    return [one for one in get_args(kind) if one not in (Ellipsis, type(None))][-1]


def dotted(location: Location) -> str:
    """Return a location as text.

    >>> dotted(("arms", 0, "losses"))
    'arms[0].losses'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".")


def complaints(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return the problems of a validation of ``model``, one line for each.

    Unknown keys come first. Where an unknown key resembles one that is missing beside it, the two
    are one problem.
    """
    # a default that depends on a key with a problem of its own is no problem
    found = [one for one in error.errors() if one["type"] != "default_factory_not_called"]
    unknown = [one for one in found if one["type"] == "extra_forbidden"]
    unknown.sort(key=lambda one: len(one["loc"]))
    meant = set()
    lines = []
    for one in unknown:
        *place, key = one["loc"]
        known = _known_at(model, tuple(place))
        near = nearest(key, known)
        meant.add((*place, near))
        hint = f"did you mean {near!r}?" if near else f"known keys: {', '.join(known)}"
        lines.append(f"{dotted(one['loc'])}: unknown key; {hint}")
    for one in found:
        below = [other for other in found if other["loc"][: len(one["loc"])] == one["loc"]]
        if (
            one in unknown
            or (one["type"] == "missing" and one["loc"] in meant)
            # a list is not called empty because its only element has a problem
            or (one["type"] == "too_short" and len(below) > 1)
        ):
            continue
        location, text = _complaint(one)
        lines.append(f"{dotted(location)}: {text}" if location else text)
    lines = list(dict.fromkeys(lines))
    if len(lines) > _MOST:
        lines = [*lines[:_MOST], f"and {len(lines) - _MOST} more problems"]
    return lines


def _complaint(error: ErrorDetails) -> tuple[Location, str]:
    """Return where an error is and what it says."""
    location, kind, given = error["loc"], error["type"], error["input"]
    context = error.get("ctx", {})
    if location and location[-1] == "[key]":
        # the key itself, which the location has before this mark
        location = location[:-1]
    if kind == "missing":
        in_list = isinstance(location[-1], int)
        return location, "a number is missing here" if in_list else "this key is needed"
    if isinstance(given, _Truth):
        text = f"{given.spelt} does not belong here (YAML reads yes, no, on and off as such)"
    elif kind in _TEXTS:
        text = _TEXTS[kind](given, context)
    elif kind in _WANTED:
        limit = next((f" {_spelt(context[key])}" for key in _LIMITS if key in context), "")
        text = f"{_WANTED[kind]}{limit} is needed{_but(given)}"
    else:
        text = f"this value cannot be used: {_spelt(given)}"
    return location, text


def _one_of(given: object, context: Mapping[str, Any]) -> str:
    known = re.findall(r"'([^']*)'", context["expected"])
    near = nearest(given, known)
    hint = f"did you mean {near!r}? " if near else ""
    return f"{hint}one of {', '.join(known)} is needed{_but(given)}"


def _form(given: object, context: Mapping[str, Any]) -> str:
    pattern = context["pattern"].removeprefix("^").removesuffix("$")
    return f"{_FORMS.get(pattern, f'a text of the form {pattern}')} is needed{_but(given)}"


_TEXTS: dict[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "value_error": lambda _, context: str(context["error"]),
    "problem": lambda _, context: str(context["text"]),
    "too_short": lambda given, _: (
        "the list is empty" if given in ([], ()) else "at least one is needed"
    ),
    "too_long": lambda given, context: (
        f"{context['max_length']} values are needed, not {len(given)}"
    ),
    "literal_error": _one_of,
    "string_pattern_mismatch": _form,
    "string_too_long": lambda given, context: (
        f"at most {context['max_length']} characters, not {len(given)}"
    ),
}
"""What is said of each kind of error, by the value that was given and pydantic's context."""

_LIMITS = ("gt", "ge", "lt", "le")
_WANTED = {
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"
    ),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("string_type", "string_sub_type", "string_unicode"), "text"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    **dict.fromkeys(
        ("model_type", "model_attributes_type", "dict_type", "mapping_type"),
        "a mapping (key: value)",
    ),
    "greater_than": "a number above",
    "greater_than_equal": "a number of at least",
    "less_than": "a number below",
    "less_than_equal": "a number of at most",
}
"""What each other kind of error asks for."""


def _but(given: object) -> str:
    return "; nothing is given" if given is None else f", not {_spelt(given)}"


def _spelt(value: object) -> str:
    """Return a value as it would be written in YAML, cut to a bounded length.

    >>> _spelt(True), _spelt("a"), _spelt([1]), _spelt({"a": 1}), _spelt(2**40)
    ('true', "'a'", 'a list', 'a mapping', '1099511627776')
    """
    match value:
        case bool():
            return str(value).lower()
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a mapping"
        case float() | int():
            return _numeral(value)
        case str():
            return reprlib.repr(value)
        case _:
            # YAML reads 2024-01-01 as a date
            return f"a {type(value).__name__}; put the text in quotes"


def _numeral(number: float) -> str:
    if isinstance(number, int):
        return str(number) if abs(number) < 10**19 else "so large a number"
    return f"{number:g}"
