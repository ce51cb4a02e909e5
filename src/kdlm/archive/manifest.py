"""The manifest: SHA-256 of every file, in the format of ``sha256sum --check --strict``."""

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
    """Return the SHA-256 of the bytes from the position of ``stream`` to its end."""
    total = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        total.update(chunk)
    return total.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return stream_sha256(file)


def format_manifest(digests: Mapping[str, str]) -> bytes:
    """Return the text of a manifest: a line for each file, sorted by name."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()


def parse_manifest(text: bytes, where: str) -> dict[str, str]:
    """Return the SHA-256 of each file by name, read from the ``text`` of a manifest.

    Args:
        text: bytes of the manifest.
        where: what error messages call the manifest.

    Raises:
        InputError: the manifest is not UTF-8, a line does not have a SHA-256 and a name, or a file
            is listed twice.

    """
    digests: dict[str, str] = {}
    try:
        # str.splitlines also splits at characters that sha256sum takes for part of a name.
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
