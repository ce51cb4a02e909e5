"""What came of each network of a study, and what is no result of it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlm.cli import main
from kdlm.study.config import parse
from kdlm.tables.networks import networks

Observed = Callable[[str], None]


@pytest.mark.fault(
    "results of another spec in the right place",
    area="files",
    provoked="another seed's history, logits or initialisation means; another recipe in the study",
)
def test_results_of_another_spec_are_no_results(
    finished: Path,
    tiny: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    observed: Observed,
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(finished / "results/tiny", folder)
    study = parse(tiny)
    (student,) = folder.glob("students/*/*/*/*/*/loss=lm/*/*/*/perturbation=0/*/seed=0")
    (shard,) = folder.glob("init_means/*/*/batchnorm=train/shard=0")
    for place, name, commands in (
        (student, "history.parquet", ("collect", "compare")),
        (student, "logits.parquet", ("collect", "compare", "theory")),
        (shard, "means.parquet", ("summarise",)),
    ):
        whole, other = place / name, place.parent / place.name.replace("=0", "=1") / name
        kept = whole.read_bytes()
        shutil.copy(other, whole)
        for command in commands:
            assert main([command, str(folder)]) == 1
            error = capsys.readouterr().err
            assert f"{whole} is of another spec than the study asks for (" in error
            assert "seed" in error
            assert error.count("\n") == 1
        whole.write_bytes(kept)
    assert all(network.status == "finished" for network in networks(study, folder))

    recipe = tiny["recipes"]["short"] | {"learning_rate": 0.04}
    others = networks(parse(tiny | {"recipes": {"short": recipe}}), folder)
    assert {network.status for network in others} == {"missing"}
    assert all("asks for (recipe); delete it" in str(network.reason) for network in others)
    observed("not taken for results: one line, or the reason in the tables, names file and keys")
