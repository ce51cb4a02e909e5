"""Checks of what a study needs: its config, the locks of its folder, room on the disk, its data."""

import fcntl
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kdlm.doctor.finding import Finding, ok, problem, warning
from kdlm.errors import InputError
from kdlm.planning.jobs import planned_jobs
from kdlm.storage.locks import holder_of
from kdlm.study import names
from kdlm.study.config import Study, read_config, read_study
from kdlm.study.parts import DatasetConfig

__all__ = ["Asked"]

_RAW = {
    "fashion-mnist": (
        ("", "FashionMNIST/raw"),
        tuple(
            f"{split}-{kind}-ubyte"
            for split in ("train", "t10k")
            for kind in ("images-idx3", "labels-idx1")
        ),
    ),
    "cifar10": (
        ("cifar-10-batches-py",),
        (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    ),
    "cifar100": (("cifar-100-python",), ("train", "test", "meta")),
}
"""By dataset, the folders below its root that can hold its files, and the files."""

_LEAST = 1e9
"""Bytes below which a disk counts as nearly full where no config tells what is needed."""


class Asked:
    """The study that the user asks about, by its config, its folder, or both, or neither."""

    def __init__(self, config: Path | None, folder: Path | None) -> None:
        self._config = config
        self._folder = folder
        self.study: Study | None = None

    def check(self) -> Iterator[Finding]:
        """Read the config and check it; the checks after this one use the study, if it is valid."""
        if self._config is None and self._folder is None:
            return
        try:
            if self._config is not None:
                self.study = read_config(self._config)
            elif self._folder is not None:
                self.study = read_study(self._folder)
        except InputError as error:
            for text in error.problems:
                yield problem("config", text, "")
            return
        except OSError as error:
            yield problem("config", str(error), "name a config file that can be read")
            return
        yield ok("config", f"study {self.study.study if self.study else ''} is valid")

    @property
    def folder(self) -> Path:
        """The folder of the study's results; of all studies where none is asked for."""
        if self._folder is not None:
            return self._folder
        return Path("results") / (self.study.study if self.study is not None else "")

    def _existing(self) -> Path:
        """Return the study's folder, or the nearest folder above it that exists."""
        found = Path.cwd() / self.folder
        while not found.is_dir():
            found = found.parent
        return found

    def locks(self) -> Iterator[Finding]:
        """Check that files can be written and locked in the folder, and who holds its lock."""
        where = self._existing()
        try:
            with tempfile.TemporaryFile(dir=where) as file:
                file.write(b"x")
                file.flush()
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except PermissionError:
            yield problem("locks", f"{where} cannot be written to", "choose a folder of your own")
            return
        except OSError as error:
            if not isinstance(error, BlockingIOError) and error.errno in _FULL:
                yield problem("disk", f"{where}: {error.strerror}", "make room on this disk")
                return
            yield warning(
                "locks",
                f"{where} has no locks ({error.strerror})",
                "never start one study twice at once there, or put it on a disk of this machine",
            )
            return
        holder = holder_of(self.folder) if self.folder.is_dir() else None
        if holder:
            yield warning(
                "locks",
                f"{self.folder} is being worked on by {holder}",
                "wait for it before you start the same study",
            )
        else:
            yield ok("locks", f"{where} has locks, and nothing holds this study's")

    def disk(self) -> Iterator[Finding]:
        """Compare the free space with what the study still needs, by an estimate."""
        where = self._existing()
        free = shutil.disk_usage(where).free
        need = _needed(self.study) if self.study is not None else None
        if need is None:
            text = f"{_size(free)} free in {where}"
            if free < _LEAST:
                yield warning("disk", text, "make room; the default study needs about 1 GB")
            else:
                yield ok("disk", text)
            return
        left = max(need - _used(self.folder), 0)
        text = f"{_size(free)} free in {where}, about {_size(left)} needed"
        if free < left:
            yield problem("disk", text, "make room, or run where there is more")
        elif free < 2 * left:
            yield warning("disk", text, "the estimate is rough; make room to be sure")
        else:
            yield ok("disk", text)

    def data(self) -> Iterator[Finding]:
        """Check that the raw files of the study's datasets are there."""
        if self.study is None:
            yield from _bundled("digits")
            return
        datasets = {one.name: one for one in (self.study.dataset, self.study.init_means.dataset)}
        for dataset in datasets.values():
            yield from _raw_files(dataset)


_FULL = (28, 122)
"""ENOSPC and EDQUOT."""


def _size(number: float) -> str:
    """Return a number of bytes with a unit.

    >>> _size(3_210_000_000), _size(4_000)
    ('3.21 GB', '0.004 MB')
    """
    return f"{number / 1e9:.3g} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"


def _used(folder: Path) -> int:
    """Return the bytes of all files of the study in ``folder``; 0 where there is none."""
    if not (folder / "study.json").is_file():
        # any other folder can be as large as the disk
        return 0
    found = 0
    for place, _, files in os.walk(folder):
        for file in files:
            try:
                found += Path(place, file).lstat().st_size
            except OSError:
                # a file of a running study can be gone by now
                continue
    return found


def _needed(study: Study) -> int | None:
    """Return about how many bytes the study writes; None if its folder of images is missing."""
    try:
        return sum(job.bytes for job in planned_jobs(study))
    except InputError:
        return None


_PACKAGED = {
    "digits": ("sklearn", "datasets/data/digits.csv.gz"),
    "photographs": ("sklearn", "datasets/images/china.jpg"),
    "scikit-image": ("skimage", "data/astronaut.png"),
}
"""Module of the package that a dataset ships with, and one of its files there."""


def _bundled(name: str) -> Iterator[Finding]:
    package = names.DATASETS[name].ships_with or ""
    module, file = _PACKAGED[name]
    found = importlib.util.find_spec(module)
    places = found.submodule_search_locations if found else None
    if places and any(Path(place, file).is_file() for place in places):
        yield ok("data", f"{name}, which ships with {package}, is there")
    else:
        yield problem(
            "data", f"{name} is missing in {package}", f"install {package}; see the README"
        )


def _raw_files(dataset: DatasetConfig) -> Iterator[Finding]:
    """Check the raw files of one dataset."""
    if dataset.root is None:
        yield from _bundled(dataset.name)
        return
    root = Path(dataset.root).expanduser()
    if dataset.name == "imagefolder":
        yield from _images(root)
        return
    if dataset.name not in _RAW:
        text = f"{dataset.name}: no check of its files is known"
        yield warning("data", text, "check them by hand")
        return
    folders, files = _RAW[dataset.name]
    missing = min(
        ([file for file in files if not _there(root / folder / file)] for folder in folders),
        key=len,
    )
    if not missing:
        yield ok("data", f"{dataset.name} is there, in {root}")
    elif dataset.download:
        yield ok("data", f"{dataset.name} is not whole in {root}; it will be downloaded")
    else:
        yield problem(
            "data",
            f"{dataset.name}: {root} has no {missing[0]}",
            "put the files there, correct root, or set download: true",
        )


def _there(file: Path) -> bool:
    return file.is_file() or file.with_name(f"{file.name}.gz").is_file()


def _images(root: Path) -> Iterator[Finding]:
    """Check that a folder of images has a class or more in each of its two parts."""
    for split in ("train", "test"):
        folder = root / split
        classes = [one for one in folder.iterdir() if one.is_dir()] if folder.is_dir() else []
        if not classes:
            yield problem(
                "data",
                f"{folder} has no folders of images",
                f"put images into {folder}/<class>/, or correct root",
            )
            return
    yield ok("data", f"images in {len(classes)} classes are in {root}")
