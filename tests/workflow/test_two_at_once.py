"""Two at once: one waits or is refused, or they do not meet."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kdlm.data.loaders import load
from kdlm.storage.locks import acquire_folder

Run = Callable[..., subprocess.CompletedProcess[str]]
Observed = Callable[[str], None]


@pytest.mark.fault(
    "two snakemake in one study",
    area="two at once",
    provoked="a second snakemake while the first holds the study; a dry run; then again",
)
def test_two_runs_of_one_study(snakemake: Run, checkout: Path, observed: Observed) -> None:
    claims = checkout / "results/tiny/claims.parquet"
    whole = claims.read_bytes()
    claims.unlink()
    arguments = ("--nolock", "--configfile", "tiny.yaml", "--", "results/tiny/claims.parquet")
    with acquire_folder(checkout / "results/tiny"):
        refused = snakemake(checkout, *arguments)
        assert refused.returncode == 1
        assert f"results/tiny is being worked on by process {os.getpid()} on" in refused.stdout
        assert "wait for it, or stop it" in refused.stdout
        assert "Traceback" not in refused.stdout
        assert not claims.exists()
        assert snakemake(checkout, "-n", *arguments).returncode == 0
    assert snakemake(checkout, *arguments).returncode == 0
    assert claims.read_bytes() == whole
    observed("refused in one line that names the other process; a dry run is not refused")


@pytest.mark.slow
@pytest.mark.fault(
    "two studies in one checkout",
    area="two at once",
    provoked="two studies gather their tables in one folder at the same time",
)
def test_two_studies(
    snakemake: Run, checkout: Path, tiny: dict[str, Any], observed: Observed
) -> None:
    shutil.copytree(checkout / "results/tiny", checkout / "results/other")
    (checkout / "other.yaml").write_text(yaml.safe_dump(tiny | {"study": "other"}))
    touch = snakemake(checkout, "--touch", "--forceall", "--configfile", "other.yaml")
    assert touch.returncode == 0, touch.stdout[-2000:]
    wanted = {}
    for study in ("tiny", "other"):
        wanted[study] = (checkout / f"results/{study}/claims.parquet").read_bytes()
        (checkout / f"results/{study}/claims.parquet").unlink()
        (checkout / f"results/{study}/tables/comparisons.parquet").unlink()

    runs: dict[str, subprocess.CompletedProcess[str]] = {}

    def run(study: str) -> None:
        runs[study] = snakemake(
            checkout, "--nolock", "--configfile", f"{study}.yaml", "--",
            f"results/{study}/claims.parquet",
        )  # fmt: skip

    threads = [threading.Thread(target=run, args=(study,)) for study in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for study, claims in wanted.items():
        assert runs[study].returncode == 0, runs[study].stdout[-3000:]
        assert (checkout / f"results/{study}/claims.parquet").read_bytes() == claims
    observed("both finish, each with the claims it has alone")


@pytest.mark.fault(
    "two studies download one dataset",
    area="two at once",
    provoked="two loaders of Fashion-MNIST, missing, with one root at the same time",
)
def test_two_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, observed: Observed) -> None:
    from kdlm.data._torchvision import datasets

    at_work, most, fetched = 0, 0, 0
    both = threading.Event()

    def fetch(_url: str, download_root: str, filename: str, **_: Any) -> None:
        nonlocal at_work, most, fetched
        at_work, fetched = at_work + 1, fetched + 1
        most = max(most, at_work)
        # time for the other to come in between, if it could
        both.wait(0.2)
        count = 4
        sizes = (count, 28, 28) if "images" in filename else (count,)
        header = bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)
        values = np.arange(np.prod(sizes)) % (10 if len(sizes) == 1 else 256)
        path = Path(download_root, filename.removesuffix(".gz"))
        path.write_bytes(header + values.astype(np.uint8).tobytes())
        at_work -= 1

    monkeypatch.setattr(datasets.mnist, "download_and_extract_archive", fetch)
    loaded = []
    threads = [
        threading.Thread(target=lambda: loaded.append(load("fashion-mnist", tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 2
    assert (most, fetched) == (1, 4)
    observed("one downloads, the other waits and uses what is there")


@pytest.mark.fault(
    "the lock of a run that was killed",
    area="two at once",
    provoked="SIGKILL of the process that holds a study, then snakemake",
)
def test_a_killed_run_leaves_no_lock(snakemake: Run, checkout: Path, observed: Observed) -> None:
    code = (
        "import os, sys; from pathlib import Path; from kdlm.storage.locks import acquire_folder;"
    )
    code += "held = acquire_folder(Path('results/tiny')); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, check=False)
    (checkout / "results/tiny/figures/accuracy.png").unlink()
    run = snakemake(checkout, "--nolock", "--configfile", "tiny.yaml")
    assert run.returncode == 0, run.stdout[-2000:]
    observed("nothing to unlock: the run starts")


NOTING = """
import os, pathlib, time
import kdlm.training.students

def noted(*arguments, train=kdlm.training.students.train):
    with open("trainings", "a") as file:
        file.write(f"{os.getpid()} begins\\n")
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
    trained = train(*arguments)
    with open("trainings", "a") as file:
        file.write(f"{os.getpid()} ends\\n")
    return trained

kdlm.training.students.train = noted
"""


def _until(met: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not met():
        assert time.monotonic() < deadline, "it took too long"
        assert process.poll() is None, "it ended before that"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("learning_rate", [0.05, 0.04])
@pytest.mark.fault(
    "snakemake alone killed while its jobs go on",
    area="two at once",
    provoked="`kill -9` of snakemake, not of the student in training; then the same command, or "
    "with another recipe",
)
def test_a_job_that_outlives_its_snakemake(
    checkout: Path, tiny: dict[str, Any], learning_rate: float, observed: Observed
) -> None:
    # the student's training waits for a file, so that both would train if they could; the module
    # is one that no digest is taken of
    main = checkout / "src/kdlm/__main__.py"
    main.write_text(
        main.read_text().replace("    sys.exit(", f"    exec({NOTING!r})\n    sys.exit(")
    )
    (student,) = (checkout / "results/tiny/students").glob(
        "*/*/*/*/*/*=kd/*=4/*/*=0/*=0/*=0/seed=1"
    )
    shutil.rmtree(student)
    log = (
        checkout
        / "results/tiny/logs/students"
        / student.relative_to(checkout / "results/tiny/students").with_name("seed=1.log")
    )
    notes, go = checkout / "trainings", checkout / "go"
    (checkout / "tiny.yaml.new").write_text(
        yaml.safe_dump(
            tiny
            | {"recipes": {"short": tiny["recipes"]["short"] | {"learning_rate": learning_rate}}}
        )
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--rerun-incomplete",
               "--configfile", "tiny.yaml", "--",
               str((student / "model.safetensors").relative_to(checkout))]  # fmt: skip

    def start() -> subprocess.Popen[bytes]:
        env = os.environ | {"PYTHONPATH": str(checkout / "src")}
        return subprocess.Popen(command, cwd=checkout, env=env, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)  # fmt: skip

    with start() as first:
        _until(notes.exists, first)
        first.kill()
    (checkout / "tiny.yaml.new").replace(checkout / "tiny.yaml")
    orphan = notes.read_text().split()[0]
    with start() as second:
        try:
            _until(
                lambda: (
                    # Snakemake removes the log before the job starts
                    (log.exists() and f"process {orphan} on".encode() in log.read_bytes())
                    or notes.read_text().count("begins") > 1
                ),
                second,
            )
        finally:
            go.touch()
    assert second.returncode == 0
    trainings = [line.split() for line in notes.read_text().splitlines()]
    assert [what for _, what in trainings] == ["begins", "ends", "begins", "ends"]
    assert trainings[0][0] == trainings[1][0] == orphan
    result = {file.name: file.read_bytes() for file in student.glob("*.[ps]a*")}
    shutil.rmtree(student)
    with start() as undisturbed:
        pass
    assert undisturbed.returncode == 0
    assert len(result) == 3
    assert result == {name: (student / name).read_bytes() for name in result}
    observed(
        "the student of the second run waits for the first and names it, then trains; never two at "
        "a time; results equal bit for bit"
    )
