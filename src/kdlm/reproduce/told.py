"""Reading untrusted JSON of an archive, with limits on bytes, values and depth."""

import reprlib
from pathlib import Path
from typing import Any

from kdlm.errors import InputError
from kdlm.study.repeated import load_json
from kdlm.terminal import printable

__all__ = ["read_object", "shown"]

_LARGEST = 1 << 26
"""Bytes of a file; Snakemake's records of a study of 1000 jobs have about 30 MB."""

_MOST_VALUES = 4_000_000
"""Commas and opening brackets of a file, which bound its values; a value takes about 100 bytes."""

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 80


def shown(value: object) -> str:
    """Return a value of an archive for a message: shortened, and without control characters."""
    return printable(_brief.repr(value))


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of an archive.

    Raises:
        InputError: the file is missing, is not a JSON object, has a key twice (readers disagree
            about its value), or exceeds a limit.

    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: more than {_LARGEST} bytes, so no JSON of an archive")
        content = path.read_bytes()
        values = sum(content.count(sign) for sign in (b",", b"[", b"{"))
        if values > _MOST_VALUES:
            raise InputError(f"{path}: more than {_MOST_VALUES} values, so no JSON of an archive")
        text = content.decode()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"the archive holds no {path.name}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not JSON (not text)") from None
    try:
        found = load_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: not a JSON object")
    return found
