"""Unpacking an untrusted zip: everything is checked before anything is written.

`zipfile` only parses the zip's central directory. This module decides which entries are allowed and
where they are written, and checks that every byte of the zip belongs to an entry or the directory.
"""

import hashlib
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kdlm.archive.manifest import parse_manifest
from kdlm.archive.names import MANIFEST, MOST, complaints, pickled
from kdlm.archive.packing import MODE, entry
from kdlm.errors import InputError

__all__ = ["unpack"]

_RATIO = 250
"""Largest ratio of unpacked to packed size of an entry.

Repetitive text reaches about 50, a zip bomb about 1000.
"""

_SMALL = 1 << 20
"""Unpacked bytes of an entry up to which `_RATIO` does not apply."""

_RATIO_OF_ALL = 50
"""Largest ratio of unpacked to packed size of an archive; studies reach 2 or 3."""

_SMALL_OF_ALL = 1 << 26
"""Unpacked bytes of an archive up to which `_RATIO_OF_ALL` does not apply."""

_STEP = 1 << 16
"""Packed bytes that are inflated at once; deflate makes at most 64 MiB of them."""

_LONGEST_HEADER = 1 << 13
"""Bytes of an entry's local header, its name included."""

_REST = struct.Struct("<3H2L")
"""End of an entry in the directory: comment length, disk, two sets of attributes, offset."""

_END = struct.Struct("<4s4H2LH")
"""End of central directory: disks, counts, size and offset of the directory, comment length."""

_END_64 = struct.Struct("<4sQ2H2L4Q")
"""The zip64 end of central directory.

A locator of 20 bytes stands between it and the record of `_END`.
"""

_ENDS = _END_64.size + 20 + _END.size

_LARGEST_DIRECTORY = 1 << 28
"""Bytes; enough for `MOST` entries with the longest names that are allowed."""

_LARGEST_MANIFEST = 1 << 28
"""Bytes; the limit matters because the manifest is read whole before any digest is known."""

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeError, struct.error)


def unpack(archive: Path, folder: Path) -> dict[str, str]:
    """Write the files of ``archive`` into ``folder``, which must be new or empty.

    Returns:
        The SHA-256 of each file except the manifest, by name.

    Raises:
        InputError: the archive is no zip, an entry is not allowed or missing, or its SHA-256 is not
            that of the manifest. The message names the first such entry, and nothing is written.
            Or a file cannot be written.

    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already: remove it, or name another folder")
    try:
        if not stat.S_ISREG(archive.stat().st_mode) and not archive.is_dir():
            raise InputError(f"{archive} is a device or a pipe, not a file")
        with archive.open("rb") as raw:
            _check_count(archive, raw)
            opened = zipfile.ZipFile(raw)
            entries = opened.infolist()
            _check_names(archive, entries)
            _check_sizes(archive, entries, raw.seek(0, io.SEEK_END))
            starts = _check_layout(archive, raw, opened)
            digests = _check_contents(archive, raw, starts)
            _write(raw, starts, folder)
    except FileNotFoundError:
        raise InputError(f"{archive} is missing") from None
    except OSError as error:
        raise InputError(f"{archive} cannot be read ({error.strerror or error})") from error
    except _DAMAGE as error:
        raise InputError(f"{archive}: not a whole zip ({error})") from None
    return digests


def _check_count(archive: Path, raw: IO[bytes]) -> None:
    """Refuse a directory with too many entries, before zipfile reads all of them.

    Raises:
        InputError: the directory is too large.
        zipfile.BadZipFile: the file does not end like a zip.

    """
    size = raw.seek(0, io.SEEK_END)
    raw.seek(max(size - _ENDS, 0))
    ends = raw.read()
    mark, *_, length, _, _ = _END.unpack(ends[-_END.size :])
    if mark != b"PK\5\6":
        raise zipfile.BadZipFile("no directory at its end")
    if len(ends) == _ENDS and ends[_END_64.size :].startswith(b"PK\6\7"):
        *_, length, _ = _END_64.unpack(ends[: _END_64.size])
    if length > _LARGEST_DIRECTORY:
        raise InputError(f"{archive}: refused: a directory of {length} bytes")
    raw.seek(max(size - _ENDS - length, 0))
    if raw.read().count(b"PK\1\2") > MOST:
        raise InputError(f"{archive}: refused: one more than {MOST} files and folders")


def _check_names(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    for info in entries:
        # zipfile cuts a name at its first NUL; other readers do not.
        if info.orig_filename != info.filename:
            raise InputError(f"{archive}: {info.orig_filename!r} refused: an ambiguous name")
        if info.external_attr != MODE << 16:
            raise InputError(f"{archive}: {info.filename!r} refused: no regular file (a link?)")
    if found := complaints(info.filename for info in entries):
        raise InputError(f"{archive}: {found[0]!r} refused: {found[1]}")


def _check_sizes(archive: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    for info in entries:
        if info.file_size > max(_SMALL, _RATIO * info.compress_size):
            raise InputError(
                f"{archive}: {info.filename!r} refused: {info.compress_size} bytes would become "
                f"{info.file_size} (a zip bomb)"
            )
        if info.filename == MANIFEST and info.file_size > _LARGEST_MANIFEST:
            raise InputError(f"{archive}: {MANIFEST} refused: {info.file_size} bytes")
    total = sum(info.file_size for info in entries)
    if total > max(_SMALL_OF_ALL, _RATIO_OF_ALL * size):
        raise InputError(f"{archive}: refused: {size} bytes would become {total} (a zip bomb)")


def _check_layout(
    archive: Path, raw: IO[bytes], opened: zipfile.ZipFile
) -> dict[int, zipfile.ZipInfo]:
    """Check that every byte belongs to one entry and that all headers are as `pack` writes them.

    Otherwise two readers could find different contents in the same zip, and overlapping entries
    could make a bomb of a small zip.

    Returns:
        The entries by the offset of their packed contents.

    Raises:
        InputError: a header or the directory is another than `pack` would write.

    """
    starts, position = {}, 0
    for info in opened.infolist():
        raw.seek(position)
        found = raw.read(_LONGEST_HEADER)
        # Sizes have 32 bits, or 64 where zipfile needs them.
        headers = (_expected(info).FileHeader(zip64) for zip64 in (None, True))
        header = next((one for one in headers if found.startswith(one)), None)
        if header is None or info.header_offset != position:
            raise InputError(f"{archive}: {info.filename!r} refused: its headers are not in order")
        starts[position + len(header)] = info
        position += len(header) + info.compress_size
    raw.seek(position)
    # A larger zip ends with 64-bit records, which zipfile checks as it reads them.
    small = position < zipfile.ZIP64_LIMIT and len(starts) < zipfile.ZIP_FILECOUNT_LIMIT
    if position != opened.start_dir or (small and raw.read() != _directory(opened)):
        raise InputError(f"{archive}: refused: its directory is not in order")
    return starts


def _expected(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Return the header that `pack` writes for an entry with this name, size and CRC."""
    expected = entry(info.filename)
    for fact in ("CRC", "compress_size", "file_size", "header_offset"):
        setattr(expected, fact, getattr(info, fact))
    return expected


def _directory(opened: zipfile.ZipFile) -> bytes:
    """Return the bytes after the last entry of a zip that needs no 64-bit records."""
    entries = b""
    for info in opened.infolist():
        expected = _expected(info)
        # The directory repeats the fields of the local header from the version to the lengths.
        header = expected.FileHeader()
        entries += b"PK\1\2" + bytes([expected.create_version, expected.create_system])
        entries += header[4:30] + _REST.pack(0, 0, 0, MODE << 16, info.header_offset) + header[30:]
    count = len(opened.infolist())
    return entries + _END.pack(b"PK\5\6", 0, 0, count, count, len(entries), opened.start_dir, 0)


def _check_contents(
    archive: Path, raw: IO[bytes], starts: dict[int, zipfile.ZipInfo]
) -> dict[str, str]:
    places = {info.filename: start for start, info in starts.items()}
    if MANIFEST not in places:
        raise InputError(f"{archive}: {MANIFEST} is missing: no archive of a study")
    manifest = b"".join(_contents(raw, places[MANIFEST], starts[places[MANIFEST]]))
    digests = parse_manifest(manifest, f"{archive}: {MANIFEST}")
    names = set(places) - {MANIFEST}
    if more := sorted(names - set(digests)):
        raise InputError(f"{archive}: {more[0]!r} refused: the manifest does not list it")
    if fewer := sorted(set(digests) - names):
        raise InputError(f"{archive}: {fewer[0]!r} is missing: the manifest lists it")
    for name in sorted(names):
        total, head = hashlib.sha256(), b""
        try:
            for chunk in _contents(raw, places[name], starts[places[name]]):
                total.update(chunk)
                head = head if len(head) > 3 else head + chunk[:4]
        except _DAMAGE as error:
            raise InputError(f"{archive}: {name!r} is damaged ({error})") from None
        if pickled(head):
            raise InputError(f"{archive}: {name!r} refused: a pickle, or a zip that may hold one")
        if total.hexdigest() != digests[name]:
            raise InputError(
                f"{archive}: {name!r} is not what was archived: its SHA-256 is "
                f"{total.hexdigest()}, the manifest has {digests[name]}"
            )
    return digests


def _contents(raw: IO[bytes], start: int, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the contents of an entry in chunks.

    zipfile would accept a compressed stream that ends before or after the entry; this does not.

    Raises:
        zipfile.BadZipFile: the stream does not end with the entry, or its size or CRC is wrong.
        zlib.error: the stream is damaged.

    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = crc = 0
    for position in range(start, start + info.compress_size, _STEP):
        raw.seek(position)
        packed = raw.read(min(_STEP, start + info.compress_size - position))
        chunk = inflater.decompress(packed)
        size, crc = size + len(chunk), zlib.crc32(chunk, crc)
        if size > info.file_size:
            break
        yield chunk
    whole = inflater.eof and not inflater.unused_data
    if not whole or (size, crc) != (info.file_size, info.CRC):
        raise zipfile.BadZipFile("its size or CRC is not the stated one")


def _write(raw: IO[bytes], starts: dict[int, zipfile.ZipInfo], folder: Path) -> None:
    for start, info in starts.items():
        path = folder / info.filename
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.writelines(_contents(raw, start, info))
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror})") from error
