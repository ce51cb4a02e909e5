"""One deterministic zip: sorted entries, one time, one mode, one compression."""

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
    """A file as it was when it was looked at; once it is another it cannot be packed."""

    path: Path
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Stored":
        """The file as it is now."""
        with path.open("rb") as file:
            digest = stream_sha256(file)
            return cls(path, file.tell(), digest)

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            InputError: they are not those that were looked at.

        """
        data = self.path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise InputError(f"{self.path} changed while it was archived: archive again")
        return data


Content = bytes | Stored
"""What an entry holds: bytes, or the file that has them."""

TIME = (1980, 1, 1, 0, 0, 0)
"""Of every entry: the first that a zip can tell."""

MODE = 0o100644
"""Of every entry: a regular file."""


def sha256_of(content: Content) -> str:
    """SHA-256 of an entry."""
    return content.sha256 if isinstance(content, Stored) else hashlib.sha256(content).hexdigest()


def size_of(content: Content) -> int:
    """Bytes of an entry."""
    return content.size if isinstance(content, Stored) else len(content)


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
        InputError: a name or a content that unpacking would refuse, or a file that has changed
            since it was looked at.

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
