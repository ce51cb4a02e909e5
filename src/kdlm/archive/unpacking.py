"""Unpacking a zip that a stranger may have made: all is checked before anything is written.

`zipfile` is trusted to inflate and to hold each entry against its CRC; what may be there at all,
and where it goes, is decided here.
"""

import hashlib
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

from kdlm.archive.manifest import parse_manifest
from kdlm.archive.names import MANIFEST, complaints, pickled
from kdlm.archive.packing import MODE, entry
from kdlm.errors import InputError

__all__ = ["unpack"]

_RATIO = 250
"""Most that an entry may grow; text of many like lines grows fiftyfold, a bomb a thousandfold."""

_SMALL = 1 << 20
"""Bytes below which no ratio is looked at."""

_CHUNK = 1 << 20

_END = struct.Struct("<4s4H2LH")
"""The last record of a zip, without comment."""

_MOST = 0xFFFF
"""Entries that fit into it; a larger zip has a second, 64-bit one before it."""

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, struct.error)


def unpack(archive: Path, folder: Path) -> dict[str, str]:
    """Write an archive's files into ``folder``, which must be new or empty.

    Returns:
        SHA-256 of each file by name, the manifest's own left out.

    Raises:
        InputError: the first entry that should not be there, is missing, or is not what the
            manifest says; nothing has been written then.

    """
    if not archive.is_file():
        raise InputError(f"{archive} is missing")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already: remove it, or name another folder")
    try:
        with archive.open("rb") as raw, zipfile.ZipFile(raw) as opened:
            _check_names(archive, opened.infolist())
            _check_sizes(archive, opened.infolist())
            _check_layout(archive, raw, opened)
            digests = _check_contents(archive, opened)
            _write(opened, folder)
    except _DAMAGE as error:
        raise InputError(f"{archive}: not a whole zip ({error})") from None
    return digests


def _check_names(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    for info in entries:
        # zipfile cuts a name at its first NUL
        if info.orig_filename != info.filename:
            raise InputError(f"{archive}: {info.orig_filename!r} refused: an ambiguous name")
        if info.external_attr != MODE << 16:
            raise InputError(f"{archive}: {info.filename!r} refused: no regular file (a link?)")
    if found := complaints(info.filename for info in entries):
        raise InputError(f"{archive}: {found[0]!r} refused: {found[1]}")


def _check_sizes(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    for info in entries:
        if info.file_size > max(_SMALL, _RATIO * info.compress_size):
            raise InputError(
                f"{archive}: {info.filename!r} refused: {info.compress_size} bytes would become "
                f"{info.file_size} (a zip bomb)"
            )


def _check_layout(archive: Path, raw: IO[bytes], opened: zipfile.ZipFile) -> None:
    """Every byte of the zip belongs to one entry, and its headers are as `pack` writes them.

    Readers that disagree about a zip read different contents from it, and overlapping entries are
    how a small zip becomes a bomb.
    """
    position = 0
    for info in opened.infolist():
        expected = entry(info.filename)
        expected.CRC, expected.flag_bits = info.CRC, info.flag_bits & 0x800
        expected.compress_size, expected.file_size = info.compress_size, info.file_size
        # a file of two gibibytes and more has a 64-bit size
        headers = [
            expected.FileHeader(zip64) for zip64 in (False, True)[info.file_size > 1 << 30 :]
        ]
        raw.seek(position)
        found = raw.read(max(map(len, headers)))
        header = next((one for one in headers if found.startswith(one)), None)
        facts = ("date_time", "compress_type", "create_system", "flag_bits", "internal_attr",
                 "volume", "reserved", "comment")  # fmt: skip
        if (
            info.header_offset != position
            or header is None
            or any(getattr(info, fact) != getattr(expected, fact) for fact in facts)
        ):
            raise InputError(f"{archive}: {info.filename!r} refused: its headers are not in order")
        position += len(header) + info.compress_size
    raw.seek(-_END.size, 2)
    count = len(opened.infolist())
    _, *numbers, size, start, comment = _END.unpack(raw.read())
    plain = count < _MOST and position < 1 << 31
    if position != opened.start_dir or comment or (plain and numbers != [0, 0, count, count]):
        raise InputError(f"{archive}: refused: there are bytes that belong to no entry")
    if plain and start + size != raw.tell() - _END.size:
        raise InputError(f"{archive}: refused: there are bytes that belong to no entry")


def _check_contents(archive: Path, opened: zipfile.ZipFile) -> dict[str, str]:
    if MANIFEST not in opened.NameToInfo:
        raise InputError(f"{archive}: {MANIFEST} is missing: no archive of a study")
    digests = parse_manifest(opened.read(MANIFEST), f"{archive}: {MANIFEST}")
    names = {info.filename for info in opened.infolist()} - {MANIFEST}
    if more := sorted(names - set(digests)):
        raise InputError(f"{archive}: {more[0]!r} refused: the manifest does not list it")
    if fewer := sorted(set(digests) - names):
        raise InputError(f"{archive}: {fewer[0]!r} is missing: the manifest lists it")
    for name in sorted(names):
        try:
            found = _sha256(opened, name)
        except _DAMAGE as error:
            raise InputError(f"{archive}: {name!r} is damaged ({error})") from None
        if found is None:
            raise InputError(f"{archive}: {name!r} refused: a pickle, or a zip that may hold one")
        if found != digests[name]:
            raise InputError(
                f"{archive}: {name!r} is not what was archived: its SHA-256 is {found}, "
                f"the manifest has {digests[name]}"
            )
    return digests


def _sha256(opened: zipfile.ZipFile, name: str) -> str | None:
    """SHA-256 of an entry, None for a pickle."""
    total = hashlib.sha256()
    with opened.open(name) as stream:
        head = stream.read(4)
        if pickled(head):
            return None
        total.update(head)
        while chunk := stream.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _write(opened: zipfile.ZipFile, folder: Path) -> None:
    for info in opened.infolist():
        path = folder / info.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(info) as stream, path.open("xb") as file:
            while chunk := stream.read(_CHUNK):
                file.write(chunk)
