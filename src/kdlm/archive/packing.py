"""Writing a deterministic zip: sorted entries with equal time, mode and compression."""

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kdlm.archive.manifest import format_manifest, stream_sha256
from kdlm.archive.names import MANIFEST, complaints, pickled
from kdlm.errors import InputError
from kdlm.storage.files import replacing

__all__ = ["MODE", "TIME", "Content", "Stored", "entry", "pack", "sha256_of", "size_of"]


@dataclass(frozen=True)
class Stored:
    """A file with the size and SHA-256 that it had when it was first read."""

    path: Path
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Stored":
        """Return the file at ``path`` with its present size and SHA-256."""
        with path.open("rb") as file:
            digest = stream_sha256(file)
            return cls(path, file.tell(), digest)

    def read(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            InputError: the file has changed since it was first read.

        """
        data = self.path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise InputError(f"{self.path} changed while it was archived: archive again")
        return data


Content = bytes | Stored
"""The content of an entry: bytes, or a file with these bytes."""

TIME = (1980, 1, 1, 0, 0, 0)
"""Modification time of every entry: the earliest that a zip can represent."""

MODE = 0o100644
"""Mode of every entry: a regular file with permissions 0644."""


def sha256_of(content: Content) -> str:
    """Return the SHA-256 of an entry's content."""
    return content.sha256 if isinstance(content, Stored) else hashlib.sha256(content).hexdigest()


def size_of(content: Content) -> int:
    """Return the size of an entry's content in bytes."""
    return content.size if isinstance(content, Stored) else len(content)


def entry(name: str) -> zipfile.ZipInfo:
    """Return the header of the entry with this name."""
    info = zipfile.ZipInfo(name, TIME)
    info.create_system = 3  # Unix, so that readers apply the mode below
    info.external_attr = MODE << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def pack(contents: Mapping[str, Content], path: Path) -> None:
    """Write ``contents`` and their manifest to the zip ``path``.

    Equal contents give equal bytes.

    Raises:
        InputError: unpacking would refuse a name or a content, or a file has changed since it was
            first read.

    """
    if found := complaints(contents):
        raise InputError(f"{found[0]} cannot be archived: {found[1]}")
    manifest = format_manifest({name: sha256_of(content) for name, content in contents.items()})
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted({*contents, MANIFEST}):
            content = manifest if name == MANIFEST else contents[name]
            data = content.read() if isinstance(content, Stored) else content
            if pickled(data[:4]):
                raise InputError(f"{name} cannot be archived: it is a pickle or a zip")
            archive.writestr(entry(name), data, compresslevel=9)
