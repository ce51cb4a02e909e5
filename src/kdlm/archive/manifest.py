"""SHA-256 of every file, in the format of coreutils: ``sha256sum --check --strict`` reads it."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from kdlm.errors import InputError

__all__ = ["file_sha256", "format_manifest", "parse_manifest", "stream_sha256"]

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_CHUNK = 1 << 20


def stream_sha256(stream: IO[bytes]) -> str:
    """SHA-256 of all that is left in ``stream``."""
    total = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        total.update(chunk)
    return total.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return stream_sha256(file)


def format_manifest(digests: Mapping[str, str]) -> bytes:
    """A line per file, sorted by name."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()


def parse_manifest(text: bytes, where: str) -> dict[str, str]:
    """SHA-256 by name.

    Raises:
        InputError: a line that is none, or a file that is listed twice.

    """
    digests: dict[str, str] = {}
    try:
        # not splitlines, which splits at more than sha256sum does
        lines = text.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{where}: not text") from None
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if not match:
            raise InputError(f"{where}: line {number} is no SHA-256 with a name")
        digest, name = match.groups()
        if name in digests:
            raise InputError(f"{where}: {name!r} is listed twice")
        digests[name] = digest
    return digests
