"""Turning pydantic's validation errors into one line that names the key."""

import difflib
import reprlib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

__all__ = ["first_complaint"]


def _known_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the model has at ``location``.

    Args:
        model: the model that was validated.
        location: the path of the mapping that has an unknown key, without that key.

    """
    kind: Any = model
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:
            # For an element of a tuple or a value of a dict, the model is the last type argument.
            kind = [argument for argument in get_args(kind) if argument is not Ellipsis][-1]
    return list(kind.model_fields)


def _dotted(location: tuple[int | str, ...]) -> str:
    """Return a location as text, such as ``arms[0].losses``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".")


def first_complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first error of a validation of ``model`` as one line for a user."""
    first = error.errors()[0]
    location, where = first["loc"], _dotted(first["loc"])
    match first["type"]:
        case "extra_forbidden":
            known = _known_at(model, location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            return f"{where}: unknown key; {hint}"
        case "missing":
            return f"{where}: this key is needed"
        case "too_short":
            return f"{where}: the list is empty"
        case "value_error":
            message = str(first["ctx"]["error"])
        case "truth":
            key, spelt = first["ctx"]["key"], first["ctx"]["spelt"]
            where = _dotted((*location, key))
            message = f"{spelt} does not belong here (YAML reads yes, no, on and off as such)"
        case _:
            found = reprlib.repr(first["input"])
            message = f"{first['msg'][0].lower()}{first['msg'][1:]}, not {found}"
    return f"{where}: {message}" if where else message
