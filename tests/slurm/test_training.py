"""A real training that its time limit interrupts on a real cluster ends with the same bits."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .base import Cluster

ROOT = Path(__file__).parents[2]
TARGET = "results/tiny/tables/runs.parquet"
EPOCHS = 500
"""Longer than a limit of two minutes, of which Slurm may leave one, also on a fast machine."""


def _config(tiny: dict[str, Any]) -> dict[str, Any]:
    """One student that trains for longer than its time limit allows."""
    config = copy.deepcopy(tiny)
    config["recipes"]["long"] = config["recipes"]["short"] | {
        "epochs": EPOCHS,
        "batch_size": 64,
        "schedule": {"name": "cosine"},
    }
    student = {"losses": ["kd"], "temperatures": [4], "recipe": "long", "seeds": [0]}
    config["arms"] = [{**config["arms"][0], **student}]
    return config


def _snakemake(folder: Path, cluster: Cluster, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile",
         TARGET, "--configfile", "study.yaml", *options],
        cwd=folder, env=cluster.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.fault(
    "a time limit in the midst of training on a cluster",
    area="cluster",
    provoked="a student that trains for longer than its limit",
)
def test_training_goes_on_after_its_time_limit(
    slurm: Cluster,
    tmp_path: Path,
    tiny: dict[str, Any],
    observed: Callable[[str], None],
) -> None:
    runs = {}
    for name, options in {
        "local": ["--cores", "1"],
        "slurm": [
            "--profile",
            str(ROOT / "slurm"),
            "--set-resources",
            "distill:runtime=2",
            "--submitit-max-requeues",
            "100",
        ],
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.yaml").write_text(yaml.safe_dump(_config(tiny)))
        runs[name] = _snakemake(tmp_path / name, slurm, *options)
    for run in runs.values():
        said, _ = run.communicate(timeout=1800)
        assert run.returncode == 0, said[-5000:]
    record = next(tmp_path.glob("slurm/results/*/students/**/run.json"))
    assert json.loads(record.read_text())["resumed_from"], "it was never interrupted"
    for file in ("model.safetensors", "history.parquet", "logits.parquet"):
        there = record.with_name(file)
        here = tmp_path / "local" / there.relative_to(tmp_path / "slurm")
        assert there.read_bytes() == here.read_bytes(), file
    assert not list(tmp_path.glob("slurm/results/*/checkpoints/**/*.safetensors"))
    observed("saved and requeued, as often as needed; model, history and logits equal bit for bit")
