"""Files are whole or absent, and a damaged one is never taken for a result."""

import errno
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import torch

from kdlm.errors import InputError
from kdlm.networks.architectures import build
from kdlm.networks.saved import load_network, save_network
from kdlm.storage.files import OPEN_SEAL, read_sealed, replacing, sealed, verify
from kdlm.storage.locks import acquire_folder
from kdlm.storage.parquet import read_table, write_table

Observed = Callable[[str], None]

ROWS = [{"epoch": epoch, "split": "test", "objective": 1 / 3 + epoch} for epoch in range(3)]


OLD_STAYS = "one line that names the file and the remedy; the old file stays, no half file"


def table(path: Path) -> Callable[[], object]:
    write_table("history", ROWS, path, {"seed": 3})
    return lambda: read_table(path, "history")


def network(path: Path) -> Callable[[], object]:
    model = build("resnet8", 10, 1, torch.float32)
    save_network(model, path, architecture="resnet8", in_channels=1, spec={"seed": 3})
    return lambda: load_network(path)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        pytest.param(
            table, "history.parquet",
            marks=pytest.mark.fault(
                "a truncated or bit-flipped Parquet",
                area="files",
                provoked="one bit at a time, in head, foot and a sample of the rest; four lengths",
            ),
        ),
        pytest.param(
            network, "model.safetensors",
            marks=pytest.mark.fault(
                "truncated or bit-flipped weights",
                area="files",
                provoked="one bit at a time, in head, foot and a sample of the rest; four lengths",
            ),
        ),
    ],
)  # fmt: skip
def test_a_bit_flipped_anywhere_and_a_truncation_are_named(
    make: Callable[[Path], Callable[[], object]], name: str, tmp_path: Path, observed: Observed
) -> None:
    path = tmp_path / name
    read = make(path)
    read()
    good = path.read_bytes()
    # every byte of head and foot, where each format keeps what it says of itself, and a sample
    ends = {*range(min(len(good), 600)), *range(max(len(good) - 600, 0), len(good))}
    for position in sorted(ends | set(range(0, len(good), max(len(good) // 400, 1)))):
        bad = bytearray(good)
        bad[position] ^= 1 << (position % 8)
        path.write_bytes(bad)
        with pytest.raises(InputError, match=rf"{name}.*delete it and run snakemake again"):
            read()
    for length in (0, 4, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(InputError, match=rf"{name}.*delete it and run snakemake again"):
            read()
    path.write_bytes(good)
    read()
    observed("never read; one line that names the file and says to delete it")


def test_other_readers_read_a_sealed_table(tmp_path: Path) -> None:
    table(tmp_path / "history.parquet")
    rows = duckdb.execute(f"select * from '{tmp_path}/history.parquet'").fetchall()
    assert [row[0] for row in rows] == [0, 1, 2]


def test_a_seal_is_a_function_of_all_other_bytes() -> None:
    contents = [sealed(f"{text} {OPEN_SEAL}".encode()) for text in ("a", "a", "b")]
    assert contents[0] == contents[1]
    assert contents[0][1:] != contents[2][1:]


def test_a_seal_is_the_sha256_of_the_file_with_zeros_in_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(sealed(f"x {OPEN_SEAL}\n".encode()))
    digest = verify(path)
    zeros = path.read_text().replace(digest, "0" * 64)
    run = subprocess.run(["sha256sum"], input=zeros, capture_output=True, text=True, check=True)
    assert run.stdout.split()[0] == digest


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x is missing; run snakemake again"):
        read_sealed(tmp_path / "x")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        pytest.param(
            errno.EDQUOT, "free some of your quota there",
            marks=pytest.mark.fault(
                "quota used up",
                area="files",
                provoked="the write of a file that is there already ends half way with EDQUOT",
            ),
        ),
        pytest.param(
            errno.EACCES, "allow writing to that folder",
            marks=pytest.mark.fault(
                "permission denied",
                area="files",
                provoked="the write of a file that is there already ends half way with EACCES",
            ),
        ),
        (errno.ENOSPC, "free space on that disk"),
        (errno.EROFS, "results have to be on a disk that can be written"),
    ],
)  # fmt: skip
def test_what_the_file_system_refuses_is_one_line(
    code: int, remedy: str, tmp_path: Path, observed: Observed
) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    refused = pytest.raises(InputError, match=rf"x\.txt cannot be written \(.*{remedy}")
    with refused, replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise OSError(code, os.strerror(code))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    observed(OLD_STAYS)


@pytest.mark.fault(
    "a limit on the size of files",
    area="files",
    provoked="`ulimit -f` below the size of a table that is there already in a smaller version",
)
def test_no_space_for_the_second_half_leaves_the_old_file(
    tmp_path: Path, observed: Observed
) -> None:
    """A limit on the size of files, which everybody may set, stops a write in its middle."""
    path = tmp_path / "history.parquet"
    table(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"history\.parquet cannot .*\(File too large"):
            write_table("history", ROWS * 1000, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    observed(OLD_STAYS)


@pytest.mark.fault(
    "disk full", area="files", provoked="weights larger than what is left of a disk of 64 kB"
)
def test_a_full_disk_leaves_what_is_there(
    small_disk: Callable[[str], Path], observed: Observed
) -> None:
    folder = small_disk("size=64k")
    table(folder / "history.parquet")
    before = (folder / "history.parquet").read_bytes()
    with pytest.raises(InputError, match=r"cannot be written \(No space left.*free space"):
        network(folder / "model.safetensors")
    assert (folder / "history.parquet").read_bytes() == before
    assert len(list(folder.iterdir())) == 1
    observed("one line that names the file and the remedy; no half file; all else stays")


@pytest.mark.fault(
    "a read-only disk",
    area="files",
    provoked="a disk that is mounted read-only after a first table",
)
def test_a_read_only_disk(small_disk: Callable[[str], Path], observed: Observed) -> None:
    path = small_disk("size=64k") / "history.parquet"
    table(path)
    before = path.read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", path.parent], check=True)
    with pytest.raises(InputError, match=r"cannot be written \(Read-only.*on a disk that can be"):
        table(path)
    with pytest.raises(InputError, match=r"\.lock cannot be written \(Read-only"):
        acquire_folder(path.parent / "study")
    assert path.read_bytes() == before
    observed(OLD_STAYS)


@pytest.mark.fault(
    "a file in the place of a folder", area="files", provoked="a file named as the results' folder"
)
def test_a_file_in_the_place_of_a_folder(tmp_path: Path, observed: Observed) -> None:
    (tmp_path / "results").write_text("")
    refused = pytest.raises(InputError, match=r"x\.txt cannot be written .*move the file away")
    with refused, replacing(tmp_path / "results/x.txt") as temporary:
        temporary.write_text("")
    observed("one line that names the file and the remedy")


@pytest.mark.fault(
    "SIGKILL while a file is written",
    area="files",
    provoked="`kill -9` of a process with half a file written, then the same again",
)
def test_what_a_killed_process_left_is_removed_by_the_next(
    tmp_path: Path, observed: Observed
) -> None:
    path = tmp_path / "x.txt"
    code = (
        "import os, pathlib, signal, sys; from kdlm.storage.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert run.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(path) as temporary:
        assert [file for file in tmp_path.iterdir() if file != temporary] == []
        # one that is being written by a process that lives
        other = path.with_name(temporary.name.replace(str(os.getpid()), str(os.getppid())))
        other.write_text("")
        temporary.write_text("whole")
    with replacing(path) as temporary:
        temporary.write_text("again")
    assert sorted(tmp_path.iterdir()) == [other, path]
    observed("no file of that name; the next writer removes the half, but not one still in use")


def _special(kind: str, folder: Path) -> Path:
    path = folder / kind
    match kind:
        case "device":
            try:
                os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            except PermissionError:
                pytest.skip("only root may make a device")
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(str(path))
        case "link":
            path.symlink_to("/dev/null")
        case _:
            path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["device", "pipe", "socket", "link", "folder"])
@pytest.mark.fault(
    "a device, pipe or socket as the file to write",
    area="files",
    provoked="as root, a null device of its own, a link to /dev/null, a pipe, a socket, a folder",
)
def test_only_files_are_replaced(kind: str, tmp_path: Path, observed: Observed) -> None:
    path = _special(kind, tmp_path)
    before = path.lstat()
    with pytest.raises(InputError, match=rf"/{kind} (is no file but|cannot be written)"):
        table(path)
    assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert list(tmp_path.iterdir()) == [path]
    observed("one line that names it; it stays what it is")


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_where_a_process_prints_is_not_replaced(kind: str, tmp_path: Path) -> None:
    code = (
        "import pathlib; from kdlm.storage.files import replacing\n"
        "with replacing(pathlib.Path('/dev/stdout')) as temporary:\n"
        "    temporary.write_text('lost')"
    )
    said = tmp_path / "said"
    with said.open("w") as file:
        stdout = file if kind == "file" else subprocess.PIPE
        run = subprocess.run(
            [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
    assert "InputError: /dev/stdout is " in run.stderr.splitlines()[-1]
    assert said.read_text() == ""


def test_a_link_stays_and_what_is_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name in ("there", "not yet there"):
        behind, link = tmp_path / "elsewhere" / name, tmp_path / f"link to {name}"
        link.symlink_to(behind)
        if name == "there":
            behind.write_text("old")
        with replacing(link) as temporary:
            assert temporary.parent == behind.parent
            temporary.write_text("new")
        assert link.is_symlink()
        assert behind.read_text() == "new"
