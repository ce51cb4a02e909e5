"""A folder of images as the world has them: links, bombs, nothing in a file, nobody in a class."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdlm.cli import main

Observed = Callable[[str], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of two plain images in train and in test."""
    for split in ("train", "test"):
        for shade, name in enumerate(("cat", "dog")):
            for number in range(2):
                file = tmp_path / "root" / split / name / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.full((8, 8, 3), 60 * shade + 20 * number, np.uint8)
                Image.fromarray(pixels).save(file)
    return tmp_path / "root"


def prepare(root: Path) -> int:
    output = root.parent / "prepared.safetensors"
    return main(
        ["prepare", "--name", "imagefolder", "--root", str(root), "--image-side", "8",
         "--output", str(output)]
    )  # fmt: skip


def complaint(root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert prepare(root) == 1
    error = capsys.readouterr().err
    assert error.startswith("kdlm: ")
    assert error.count("\n") == 1
    assert not (root.parent / "prepared.safetensors").exists()
    return error


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it has 40,000 × 40,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    file = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(0, io.SEEK_END)
    file.write(chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)))
    file.write(chunk(b"IDAT", zlib.compress(bytes(10_000_000))))
    file.write(chunk(b"IEND", b""))
    return file.getvalue()


@pytest.mark.fault(
    "a zip-bomb image",
    area="hostile input",
    provoked="a PNG of 10 kB with 40,000 × 40,000 pixels in a dataset's folder",
)
def test_a_bomb(root: Path, capsys: pytest.CaptureFixture[str], observed: Observed) -> None:
    (root / "train/cat/1.png").write_bytes(bomb())
    error = complaint(root, capsys)
    assert "train/cat/1.png (DecompressionBombError" in error
    assert "repair or remove" in error
    observed("one line that names the file; it is not decoded, no dataset is written")


@pytest.mark.fault(
    "an image of 0 bytes", area="hostile input", provoked="an empty file named .png in a dataset"
)
def test_an_empty_file(root: Path, capsys: pytest.CaptureFixture[str], observed: Observed) -> None:
    (root / "test/dog/0.png").write_bytes(b"")
    assert f"not readable as images: {root}/test/dog/0.png;" in complaint(root, capsys)
    observed("one line that names the file; no dataset is written")


@pytest.mark.fault(
    "a class without images", area="hostile input", provoked="an empty folder among the classes"
)
def test_an_empty_class(root: Path, capsys: pytest.CaptureFixture[str], observed: Observed) -> None:
    (root / "train/emu").mkdir()
    error = complaint(root, capsys)
    assert f"{root}/train" in error
    assert "emu" in error
    observed("one line that names the class; no dataset is written")


@pytest.mark.fault(
    "symbolic links in a dataset",
    area="hostile input",
    provoked="a class that is a link out of the folder; a link to nothing; links to their own or "
    "each other's folder, in the dataset and beyond a link out of it",
)
def test_links(root: Path, capsys: pytest.CaptureFixture[str], observed: Observed) -> None:
    assert prepare(root) == 0
    plain = (root.parent / "prepared.safetensors").read_bytes()
    (root.parent / "prepared.safetensors").unlink()

    (root / "train/cat").rename(root.parent / "elsewhere")
    (root / "train/cat").symlink_to(root.parent / "elsewhere")
    assert prepare(root) == 0
    assert (root.parent / "prepared.safetensors").read_bytes() == plain
    (root.parent / "prepared.safetensors").unlink()

    dangling = root / "train/dog/2.png"
    dangling.symlink_to(root / "nothing.png")
    assert f"not readable as images: {dangling};" in complaint(root, capsys)
    dangling.unlink()

    loop = root / "train/dog/again"
    loop.symlink_to(root / "train", target_is_directory=True)
    assert f"{loop} links to a folder that it is in" in complaint(root, capsys)
    loop.unlink()

    # what is beyond a link is not above it on disk
    beyond = root.parent / "elsewhere/loop"
    beyond.symlink_to(".", target_is_directory=True)
    assert f"{root}/train/cat/loop links to a folder that it is in" in complaint(root, capsys)
    beyond.unlink()
    for name, other in (("one", "two"), ("two", "one")):
        (root.parent / name).mkdir()
        (root.parent / name / "other").symlink_to(root.parent / other)
    (root / "test/dog/out").symlink_to(root.parent / "one")
    # the second link leads back to where the first has led
    error = complaint(root, capsys)
    assert f"{root}/test/dog/out/other/other links to a folder that it is in" in error
    observed("links out are followed; all others are refused in one line that names the link")
