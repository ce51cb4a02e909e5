"""One deterministic zip: sorted entries, one time, one mode, one compression."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from kdlm.archive.manifest import file_sha256, format_manifest
from kdlm.archive.names import MANIFEST, complaints, pickled
from kdlm.errors import InputError
from kdlm.files import replacing

__all__ = ["MODE", "TIME", "Content", "entry", "pack", "sha256_of", "size_of"]

Content = bytes | Path
"""What an entry holds: bytes, or the file that has them."""

TIME = (1980, 1, 1, 0, 0, 0)
"""Of every entry: the first that a zip can tell."""

MODE = 0o100644
"""Of every entry: a regular file."""


def sha256_of(content: Content) -> str:
    """SHA-256 of an entry."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    return file_sha256(content)


def size_of(content: Content) -> int:
    """Bytes of an entry."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def entry(name: str) -> zipfile.ZipInfo:
    """The header that an entry of this name has."""
    info = zipfile.ZipInfo(name, TIME)
    info.create_system = 3  # Unix: the mode below is read
    info.external_attr = MODE << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def pack(contents: Mapping[str, Content], path: Path) -> None:
    """Write ``contents`` and their manifest to the zip ``path``; equal contents, equal bytes.

    Raises:
        InputError: a name or a content that unpacking would refuse.

    """
    if found := complaints(contents):
        raise InputError(f"{found[0]} cannot be archived: {found[1]}")
    manifest = format_manifest({name: sha256_of(content) for name, content in contents.items()})
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted({*contents, MANIFEST}):
            content = manifest if name == MANIFEST else contents[name]
            data = content if isinstance(content, bytes) else content.read_bytes()
            if pickled(data[:4]):
                raise InputError(f"{name} cannot be archived: it is a pickle or a zip")
            archive.writestr(entry(name), data, compresslevel=9)
