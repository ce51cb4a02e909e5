"""Folders of images as people have them: of phones, scanners and NAS, with all that lies about."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdlm.data.dataset import DataError, Dataset
from kdlm.data.listing import fingerprint
from kdlm.data.loaders import load
from kdlm.errors import InputError

Observed = Callable[[str], None]

RAMP = np.linspace(0, 65535, 64).reshape(8, 8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of two plain images in train and in test."""
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            for number in range(2):
                file = tmp_path / "root" / split / name / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng(2 * label + number).integers(256, size=(8, 8, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(file)
    return tmp_path / "root"


def read(root: Path) -> Dataset:
    return load("imagefolder", root, image_side=8)


def first(root: Path) -> torch.Tensor:
    """The first training image, which is train/cat/0.…"""
    return read(root).train_images[0]


def refusal(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.fault(
    "images of 16 bits",
    area="hostile input",
    provoked="a grey ramp from 0 to 65535 as PNG, TIFF of both byte orders, PGM and JPEG 2000",
)
@pytest.mark.parametrize("kind", ["png", "tif", "big.tif", "pgm", "jp2"])
def test_sixteen_bits(root: Path, kind: str, observed: Observed) -> None:
    levels = RAMP.round().astype(np.uint16)
    path = root / f"train/cat/0.{kind}"
    if kind == "pgm":
        path.write_bytes(b"P5 8 8 65535\n" + levels.astype(">u2").tobytes())
    elif kind == "big.tif":
        Image.frombytes("I;16B", (8, 8), levels.astype(">u2").tobytes()).save(path)
    else:
        Image.fromarray(levels).save(path)
    if kind != "png":
        (root / "train/cat/0.png").unlink()
    expected = torch.from_numpy((levels / 257).round().astype(np.uint8)).expand(3, 8, 8)
    assert torch.equal(first(root), expected)
    observed("read as ⌊x/257⌉ in 8 bits, black to black and white to white")


@pytest.mark.fault(
    "images whose white is not known",
    area="hostile input",
    provoked="a TIFF of floats, one of 32-bit integers, one in Lab",
)
@pytest.mark.parametrize("kind", ["float", "integer", "lab"])
def test_levels_without_a_white(root: Path, kind: str, observed: Observed) -> None:
    path = root / "train/cat/1.tif"
    images = {
        "float": lambda: Image.fromarray(RAMP.astype(np.float32)),
        "integer": lambda: Image.fromarray(RAMP.astype(np.int32)),
        "lab": lambda: Image.new("LAB", (8, 8)),
    }
    images[kind]().save(path)
    message = refusal(root)
    assert f"not readable as images: {path} (its " in message
    assert "; save it " in message
    observed("one line that names the file and says how to save it")


@pytest.mark.fault(
    "images with any suffix, or none",
    area="hostile input",
    provoked=".jfif, .gif, .jpe, .jp2, .PNG, a wrong suffix, no suffix; a list of labels and a "
    "text beside them",
)
def test_suffixes(root: Path, caplog: pytest.LogCaptureFixture, observed: Observed) -> None:
    folder = root / "train/cat"
    image = Image.open(folder / "0.png")
    kinds = {
        "2.jfif": "JPEG", "3.gif": "GIF", "4.jpe": "JPEG", "5.jp2": "JPEG2000", "6.PNG": "PNG",
        "7.jpg": "PNG", "8": "PNG", "9.img": "BMP",
    }  # fmt: skip
    for name, kind in kinds.items():
        image.save(folder / name, kind)
    (folder / "labels.csv").write_text("0.png,cat\n")
    (folder / "README").write_text("cats\n")
    (root / "train/loose.png").write_bytes((folder / "0.png").read_bytes())
    (root / "val").mkdir()
    with caplog.at_level(logging.WARNING):
        dataset = read(root)
    assert dataset.train_labels.tolist() == [0] * 10 + [1] * 2
    for position in (6, 7, 8, 9):
        assert torch.equal(dataset.train_images[position], dataset.train_images[0])
    (line,) = caplog.messages
    assert "2 left out, being no images ('train/cat/README', 'train/cat/labels.csv')" in line
    assert "1 left out, being in no class's folder ('train/loose.png')" in line
    assert "1 left out, being neither in train nor in test ('val')" in line
    assert "\n" not in line
    observed("told by their first bytes and read; one line of the log names what was left out")


@pytest.mark.fault(
    "images of a kind that is not read",
    area="hostile input",
    provoked="a phone's .heic, an .eps, which would be run, an .svg",
)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("2.heic", b"\0\0\0\x18ftypheic"),
        ("2.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"),
        ("2.svg", b"<svg/>"),
    ],
)
def test_other_kinds(root: Path, name: str, content: bytes, observed: Observed) -> None:
    path = root / "train/cat" / name
    path.write_bytes(content)
    assert f"not readable as images: {path}; repair or remove" in refusal(root)
    observed("one line that names the file; no dataset is written")


@pytest.mark.fault(
    "hidden folders and files among images",
    area="hostile input",
    provoked=".ipynb_checkpoints, @eaDir, __MACOSX and ._0.png in a class and beside the classes, "
    "in train and test",
)
def test_hidden(root: Path, caplog: pytest.LogCaptureFixture, observed: Observed) -> None:
    plain = read(root)
    before = fingerprint(root)
    image = (root / "train/cat/0.png").read_bytes()
    for place in ("train", "test", "train/cat"):
        for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
            (root / place / name).mkdir()
            (root / place / name / "x.png").write_bytes(image)
    (root / "train/cat/._0.png").write_bytes(image)
    (root / "train/cat/Thumbs.db").write_bytes(b"\xd0\xcf")
    with caplog.at_level(logging.WARNING):
        dataset = read(root)
    assert dataset.classes == ("cat", "dog")
    assert torch.equal(dataset.train_images, plain.train_images)
    (line,) = caplog.messages
    assert "11 left out, being hidden, or of the system ('train/" in line
    assert fingerprint(root) == before
    observed("neither classes nor images; one line of the log names them")


@pytest.mark.fault(
    "photographs that lie on their side",
    area="hostile input",
    provoked="each of the eight orientations of EXIF, and an EXIF block that is none",
)
def test_orientation(root: Path, caplog: pytest.LogCaptureFixture, observed: Observed) -> None:
    path = root / "train/cat/0.png"
    pixels = np.random.default_rng(5).integers(256, size=(8, 8, 3)).astype(np.uint8)
    upright = torch.from_numpy(pixels).permute(2, 0, 1)
    # how a camera lays the picture down, for each way to turn it back
    laid = {
        1: upright, 2: upright.flip(2), 3: upright.flip(1, 2), 4: upright.flip(1),
        5: upright.mT, 6: upright.rot90(1, (1, 2)), 7: upright.mT.flip(1, 2),
        8: upright.rot90(-1, (1, 2)),
    }  # fmt: skip
    for orientation, tensor in laid.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(tensor.permute(1, 2, 0).contiguous().numpy()).save(path, exif=exif)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert torch.equal(first(root), upright), orientation
        assert ("1 turned upright as their EXIF says" in caplog.text) == (orientation > 1)
    Image.fromarray(pixels).save(path, exif=b"Exif\0\0nothing")
    assert torch.equal(first(root), upright)
    observed("read upright, said in one line of the log")


@pytest.mark.fault(
    "images that are transparent",
    area="hostile input",
    provoked="a drawing in black on transparent black, as RGBA, LA and a palette; half transparent",
)
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency(
    root: Path, caplog: pytest.LogCaptureFixture, observed: Observed, mode: str
) -> None:
    drawing = np.zeros((8, 8, 4), np.uint8)
    drawing[2:4, :, 3] = 255
    if mode != "P":
        drawing[5, :, 3] = 102
    image = Image.fromarray(drawing).convert(mode if mode != "P" else "RGBA")
    if mode == "P":
        palette = Image.new("P", (8, 8))
        palette.putpalette([0, 0, 0, 0, 0, 0])
        palette.putdata([int(alpha > 0) for alpha in drawing[..., 3].flatten()])
        palette.save(root / "train/cat/0.png", transparency=0)
    else:
        image.save(root / "train/cat/0.png")
    with caplog.at_level(logging.WARNING):
        read_back = first(root)
    expected = 255 - torch.from_numpy(drawing[..., 3].copy())
    assert torch.equal(read_back, expected.expand(3, 8, 8))
    assert "1 with transparency, laid on white ('train/cat/0.png')" in caplog.text
    observed("laid on white, said in one line of the log")


def test_of_several_frames_the_first_is_taken(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    (root / "train/cat/0.png").unlink()
    frames[0].save(root / "train/cat/0.gif", save_all=True, append_images=frames[1:])
    with caplog.at_level(logging.WARNING):
        assert first(root)[:, 0, 0].tolist() == [255, 0, 0]
    assert "1 of several frames, the first was taken ('train/cat/0.gif')" in caplog.text


@pytest.mark.fault(
    "what cannot be read in a folder of images",
    area="hostile input",
    provoked="a pipe named .png, a strip of 1 × 60,000 pixels for a side of 512, a folder that may "
    "not be read",
)
def test_what_cannot_be_read(
    root: Path,
    caplog: pytest.LogCaptureFixture,
    observed: Observed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    os.mkfifo(root / "train/cat/pipe.png")
    with caplog.at_level(logging.WARNING):
        assert len(read(root).train_labels) == 4
    assert "1 left out, being neither a file nor a folder ('train/cat/pipe.png')" in caplog.text
    strip = root / "train/cat/strip.png"
    Image.new("L", (1, 60_000)).save(strip)
    with pytest.raises(DataError, match=r"strip\.png \(1 × 60000 pixels are too long a strip\)"):
        load("imagefolder", root, image_side=512)
    strip.unlink()
    unhindered = os.scandir

    def hindered(path: str | Path) -> object:
        if str(path).endswith("test/dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return unhindered(path)

    # as root may read everything
    monkeypatch.setattr("os.scandir", hindered)
    assert f"{root}/test/dog cannot be read (Permission denied)" in refusal(root)
    observed("the pipe is left out, the others are refused, each in one line that names it")


def test_a_name_that_is_not_unicode(root: Path) -> None:
    name = os.fsdecode("café.png".encode("latin-1"))
    (root / "train/cat/0.png").rename(root / "train/cat" / name)
    assert len(read(root).train_labels) == 4
    (root / "train/cat" / name).write_bytes(b"")
    assert "caf" in refusal(root)
    assert fingerprint(root)


def test_the_fingerprint_is_of_names_and_sizes(root: Path) -> None:
    before = fingerprint(root)
    os.utime(root / "train/cat/0.png", (1, 1))
    assert fingerprint(root) == before
    image = root / "train/cat/0.png"
    image.rename(root / "train/dog/9.png")
    moved = fingerprint(root)
    (root / "train/dog/9.png").write_bytes(b"another size")
    assert len({before, moved, fingerprint(root)}) == 3
    assert fingerprint(root / "nowhere") is None


def test_a_hundred_thousand_files_are_listed_in_a_second(tmp_path: Path) -> None:
    for number in range(100):
        folder = tmp_path / f"train/class {number}"
        folder.mkdir(parents=True)
        for image in range(1000):
            os.close(os.open(folder / f"{image}.png", os.O_CREAT))
    start = time.process_time()
    fingerprint(tmp_path)
    assert time.process_time() - start < 1
