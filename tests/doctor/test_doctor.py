"""``kdlm doctor`` on made-up machines: a line for each check, and never a traceback."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from PIL import Image

from kdlm.cli import main
from kdlm.doctor import finding, machine
from kdlm.doctor import study as of_study
from kdlm.storage.locks import acquire_folder
from kdlm.study.config import parse, read_config

Observed = Callable[[str], None]
FACTS = {
    "version": "2.13.0", "capability": "AVX2", "threads": 2, "built for": "12.8", "gpus": [],
}  # fmt: skip
SUBJECTS = ["Python", "locale", "torch", "CUDA", "Snakemake", "Slurm", "submitit", "locks", "disk",
            "data"]  # fmt: skip


class Report(NamedTuple):
    """What the command printed, and its status."""

    status: int
    lines: dict[str, list[str]]
    """By subject, the status word and the text of each line."""
    error: str

    def of(self, subject: str) -> tuple[str, str]:
        """Status word and text of the one line about a subject."""
        ((word, text),) = [line.split(" ", 1) for line in self.lines[subject]]
        return word, text


Doctor = Callable[..., Report]


@pytest.fixture
def doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    """Run the command in an empty folder, with a PATH of its own and a quick stand-in for torch."""
    monkeypatch.chdir(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(shutil, "which", lambda name: _which(programs, name))
    monkeypatch.setattr(machine, "_ASK_TORCH", f"print({json.dumps(json.dumps(FACTS))})")

    def run(*arguments: str | Path) -> Report:
        status = main(["doctor", *map(str, arguments)])
        printed = capsys.readouterr()
        lines: dict[str, list[str]] = {}
        for line in printed.out.splitlines():
            word, subject, text = line.split(maxsplit=2)
            assert word in ("ok", "warning", "problem"), line
            lines.setdefault(subject, []).append(f"{word} {text}")
        assert "Traceback" not in printed.out + printed.err
        problems = [
            subject for subject, found in lines.items() if any("problem " in one for one in found)
        ]
        assert status == (1 if problems else 0)
        if problems:
            assert printed.err == f"kdlm: problems with: {', '.join(problems)}\n"
        return Report(status, lines, printed.err)

    return run


def _which(folder: Path, name: str) -> str | None:
    """What stands in the folder of made-up programs; this machine may have a Slurm."""
    return str(folder / name) if (folder / name).exists() else None


def program(name: str, text: str) -> None:
    """A made-up program in the PATH."""
    path = Path("bin", name)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def config_file(config: dict[str, Any], **changes: Any) -> Path:
    path = Path("my.yaml")
    path.write_text(yaml.safe_dump(config | changes))
    return path


def test_a_line_for_each_check_and_no_problem(doctor: Doctor) -> None:
    report = doctor()
    assert report.status == 0
    assert list(report.lines) == SUBJECTS
    assert report.of("torch") == ("ok", "2.13.0, CPU capability AVX2, threads: 2")
    assert report.of("Slurm")[0] == "ok"
    assert "only the profile slurm needs it" in report.of("Slurm")[1]
    assert "digits" in report.of("data")[1]
    # the folder is no checkout
    assert report.of("Snakemake")[0] == "warning"


def test_a_checkout_has_its_profiles(doctor: Doctor) -> None:
    Path("workflow/profiles/local").mkdir(parents=True)
    Path("Snakefile").touch()
    assert doctor().of("Snakemake")[0] == "ok"


def test_a_valid_config_is_compared_with_the_machine(
    doctor: Doctor, config: dict[str, Any]
) -> None:
    report = doctor("--configfile", config_file(config))
    assert report.of("config") == ("ok", "study tiny is valid")
    assert report.status == 0
    assert "needed" in report.of("disk")[1]
    assert [line.split(",")[0] for line in report.lines["data"]] == ["ok digits", "ok photographs"]


def test_a_folder_of_results_is_its_own_config(doctor: Doctor, config: dict[str, Any]) -> None:
    folder = Path("results/tiny")
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(parse(config).canonical_json())
    report = doctor(folder)
    assert report.of("config") == ("ok", "study tiny is valid")
    assert str(folder) in report.of("locks")[1]
    assert doctor("nowhere").of("config")[0] == "problem"


def test_each_problem_of_a_config_is_a_line(doctor: Doctor, config: dict[str, Any]) -> None:
    path = config_file(config, threads="two", device=None)
    report = doctor("--configfile", path)
    assert report.lines["config"] == [
        "problem my.yaml: device: one of auto, cpu, cuda is needed; nothing is given",
        "problem my.yaml: threads: a whole number is needed, not 'two'",
    ]
    # the machine is checked all the same
    assert set(SUBJECTS) <= set(report.lines)
    assert doctor("--configfile", "nothing.yaml").of("config")[0] == "problem"


def test_a_gpu_is_a_problem_only_where_the_config_needs_one(
    doctor: Doctor, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config_file(config, device="cuda")
    word, text = doctor("--configfile", path).of("CUDA")
    assert word == "problem"
    assert "built for CUDA 12.8" in text
    assert "device: cuda" in text
    facts = json.dumps(FACTS | {"gpus": ["H100", "H100"]})
    monkeypatch.setattr(machine, "_ASK_TORCH", f"print({facts!r})")
    assert doctor("--configfile", path).of("CUDA") == ("ok", "12.8: H100, H100")


def test_more_threads_than_cores_are_a_warning(doctor: Doctor, config: dict[str, Any]) -> None:
    report = doctor("--configfile", config_file(config, threads=1000))
    assert report.of("threads")[0] == "warning"
    assert report.status == 0


@pytest.mark.fault(
    "a torch that cannot be imported",
    area="hostile input",
    provoked="an import that raises, one that ends its process by a signal, one that hangs",
)
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("import os; os.kill(os.getpid(), 11)", "it prints nothing"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
    ],
)
def test_a_broken_torch(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, observed: Observed, code: str, said: str
) -> None:
    monkeypatch.setattr(machine, "_ASK_TORCH", code)
    if "sleep" in code:
        monkeypatch.setattr(machine, "TORCH_SECONDS", 6.0)
    word, text = doctor().of("torch")
    assert word == "problem"
    assert said in text
    observed("a line of the report says what happened; the other checks go on")


UP = 'echo "Slurmctld(primary) at head is UP"'


def test_a_slurm_that_answers(doctor: Doctor) -> None:
    program("sbatch", "echo slurm 24.11.5")
    program("scontrol", f'[ "$1" = ping ] && {UP}')
    assert doctor().of("Slurm") == ("ok", "slurm 24.11.5, its controller answers")


@pytest.mark.fault(
    "a Slurm that does not answer",
    area="cluster",
    provoked="an sbatch that hangs, that fails, that is no program; a controller that is down",
)
@pytest.mark.parametrize(
    ("sbatch", "scontrol", "said"),
    [
        ("sleep 300", UP, "no answer within 0.5 s"),
        ("sleep 300 & wait", UP, "no answer within 0.5 s"),
        ("echo 'fatal: no slurm.conf' >&2; exit 1", UP, "fatal: no slurm.conf"),
        ("echo slurm 22.05.8", "echo 'Slurmctld(primary) at head is DOWN'; exit 1", "is DOWN"),
        ("echo slurm 22.05.8", "sleep 300", "controller does not answer (no answer within 0.5 s)"),
        ("printf '\\033[31mslurm\\n'; exit 3", UP, "\\x1b[31mslurm"),
    ],
)
def test_a_slurm_that_does_not_answer(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, observed: Observed, sbatch: str,
    scontrol: str, said: str,
) -> None:  # fmt: skip
    program("sbatch", sbatch)
    program("scontrol", scontrol)
    monkeypatch.setattr(machine, "PROGRAM_SECONDS", 0.5)
    word, text = doctor().of("Slurm")
    assert word == "problem"
    assert said in text
    observed("a line of the report with what the program printed, after 5 s at most")


def test_a_program_that_cannot_be_run_is_a_problem(doctor: Doctor) -> None:
    Path("bin/sbatch").write_bytes(b"\x7fELF")
    Path("bin/sbatch").chmod(0o755)
    assert "Exec format error" in doctor().of("Slurm")[1]


def test_the_plugin_is_needed_where_there_is_a_slurm(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(package: str) -> str:
        if package == "snakemake":
            return "9.27.1"
        raise PackageNotFoundError(package)

    monkeypatch.setattr(machine, "version", version)
    assert doctor().of("submitit")[0] == "ok"
    program("sbatch", "echo slurm 24.11.5")
    program("scontrol", UP)
    assert doctor().of("submitit") == (
        "problem", "submitit is not installed; run `make study`, or see the README",
    )  # fmt: skip


@pytest.mark.parametrize("found", ["9.26.3", "8.30"])
def test_an_old_snakemake_is_a_problem(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    monkeypatch.setattr(machine, "version", lambda _: found)
    assert doctor().of("Snakemake")[0] == "problem"


@pytest.mark.fault(
    "a disk with too little room",
    area="files",
    provoked="less room than the config needs, little more, and a full disk",
)
def test_room_on_the_disk(
    doctor: Doctor, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, observed: Observed
) -> None:
    path = config_file(config)
    needed = of_study._needed(read_config(path))
    assert needed is not None
    usage = shutil.disk_usage(".")
    for free, word in ((0.5 * needed, "problem"), (1.5 * needed, "warning"), (5 * needed, "ok")):
        monkeypatch.setattr(
            shutil, "disk_usage", lambda _, free=free: usage._replace(free=int(free))
        )
        assert doctor("--configfile", path).of("disk")[0] == word
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**8))
    assert doctor().of("disk")[0] == "warning"

    def full(**_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    report = doctor()
    assert any(line.startswith("problem ") for line in report.lines["disk"])
    observed("a problem, a warning, a problem; each with what is free, and what is needed")


def test_what_the_study_has_written_is_no_longer_needed(
    doctor: Doctor, config: dict[str, Any]
) -> None:
    folder = Path("results/tiny")
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(parse(config).canonical_json())
    before = doctor(folder).of("disk")[1]
    (folder / "weights").write_bytes(bytes(10_000_000))
    after = doctor(folder).of("disk")[1]
    assert "about 0 MB needed" in after
    assert "about 0 MB needed" not in before


@pytest.mark.fault(
    "a folder without locks, or that cannot be written to",
    area="files",
    provoked="flock that fails, a folder of another user, a study that another process works on",
)
def test_locks(doctor: Doctor, monkeypatch: pytest.MonkeyPatch, observed: Observed) -> None:
    folder = Path("results/tiny")
    folder.mkdir(parents=True)
    with acquire_folder(folder):
        word, text = doctor(folder).of("locks")
        assert word == "warning"
        assert f"being worked on by process {os.getpid()} on " in text

    def refused(error: OSError) -> Callable[..., None]:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        return fail

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", refused(OSError(95, "Operation not supported")))
        word, text = doctor().of("locks")
        assert word == "warning"
        assert "has no locks (Operation not supported)" in text
    with monkeypatch.context() as patched:
        denied = refused(PermissionError(13, "Permission denied"))
        patched.setattr(tempfile, "TemporaryFile", denied)
        word, text = doctor().of("locks")
        assert word == "problem"
        assert "cannot be written to" in text
    observed("a warning, a problem, a warning that names the process; each with what to do")


def test_raw_files_of_a_dataset(doctor: Doctor, config: dict[str, Any]) -> None:
    for name in ("fashion-mnist", "cifar10", "cifar100"):
        folders, files = of_study._RAW[name]
        dataset = {"name": name, "root": name, "download": False}
        path = config_file(config, dataset=dataset)
        first, _ = doctor("--configfile", path).lines["data"]
        assert first.startswith(f"problem {name}: {name} has no ")
        path = config_file(config, dataset=dataset | {"download": True})
        first, _ = doctor("--configfile", path).lines["data"]
        assert first == f"ok {name} is not whole in {name}; it will be downloaded"
        for place, folder in enumerate(folders):
            root = Path(f"{name}-{place}")
            (root / folder).mkdir(parents=True)
            for file in files:
                (root / folder / (f"{file}.gz" if place else file)).touch()
            path = config_file(config, dataset=dataset | {"root": str(root)})
            first, _ = doctor("--configfile", path).lines["data"]
            assert first == f"ok {name} is there, in {root}"


def test_the_raw_files_are_those_that_the_loaders_read() -> None:
    from kdlm.data._torchvision import datasets

    for name, kind in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        (folder,), files = of_study._RAW[name]
        assert folder == kind.base_folder
        listed = [*kind.train_list, *kind.test_list, (kind.meta["filename"], "")]
        assert set(files) == {file for file, _ in listed}
    _, files = of_study._RAW["fashion-mnist"]
    assert set(files) == {Path(file).stem for file, _ in datasets.FashionMNIST.resources}


def test_a_folder_of_images(doctor: Doctor, config: dict[str, Any]) -> None:
    dataset = {"name": "imagefolder", "root": "pictures", "image_side": 8}
    path = config_file(config, dataset=dataset)
    for split in ("train", "test"):
        first, _ = doctor("--configfile", path).lines["data"]
        assert first.startswith(f"problem pictures/{split} has no folders of images")
        for name in ("cat", "dog"):
            image = Path("pictures", split, name, "0.png")
            image.parent.mkdir(parents=True)
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image)
    first, _ = doctor("--configfile", path).lines["data"]
    assert first == "ok images in 2 classes are in pictures"
    # how much such a study needs depends on the folder, whose images are counted
    assert "needed" in doctor("--configfile", path).of("disk")[1]
    shutil.rmtree("pictures")
    assert "needed" not in doctor("--configfile", path).of("disk")[1]


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: time.sleep(30), "no answer within 0.2 s"),
    ],
)
def test_a_check_can_neither_fail_nor_hang(fails: Callable[[], Any], said: str) -> None:
    def check() -> Iterator[finding.Finding]:
        yield finding.ok("disk", "so far")
        fails()

    first, last = finding.found_by("disk", check, seconds=0.2)[-2:] if "by zero" in said else (
        finding.ok("disk", "so far"), finding.found_by("disk", check, seconds=0.2)[-1],
    )  # fmt: skip
    assert first.status == "ok"
    assert last.status == "warning"
    assert said in last.text


def test_what_a_hanging_program_has_started_is_ended_too(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    whole, _ = finding.output_of(["sh", "-c", f"sleep 300 & echo $! > {file}; wait"], 1)
    assert not whole
    pid = int(file.read_text())
    for _ in range(100):
        # an ended process can be a zombie until its new parent looks after it
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the program still runs")


@pytest.mark.fault(
    "a C locale for `kdlm doctor`",
    area="hostile input",
    provoked="LC_ALL=C without Python's UTF-8 mode, in a folder named ü",
)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_locale_that_is_ascii(tmp_path: Path, observed: Observed, locale: str) -> None:
    folder = tmp_path / "ü"
    folder.mkdir()
    env = os.environ | {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = subprocess.run(
        [sys.executable, "-m", "kdlm", "doctor"],
        cwd=folder, env=env, capture_output=True, check=False,
    )  # fmt: skip
    assert run.returncode in (0, 1)
    assert b"Traceback" not in run.stdout + run.stderr
    (line,) = [one for one in run.stdout.splitlines() if b" locale " in one]
    assert line.startswith(b"ok" if "UTF" in locale else b"warning")
    if locale == "C":
        assert run.stdout.isascii()
        assert b"export LC_ALL=C.UTF-8" in line
    observed("a warning that says what to export; other letters are printed as escapes")


def test_colours_are_for_terminals(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    doctor()
    main(["doctor"])
    assert "\x1b" not in capsys.readouterr().out
