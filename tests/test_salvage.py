"""After a failure: tables, claims and figures of what is there."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlm.cli import main
from kdlm.errors import InputError
from kdlm.salvage import salvage
from kdlm.storage.parquet import read_table
from kdlm.study.config import parse

Observed = Callable[[str], None]


@pytest.mark.fault(
    "damage among the results when a run fails",
    area="files",
    provoked="a flipped bit in a student's logits and a lost shard of initialisation means",
)
def test_damage_anywhere_leaves_something_to_tell(
    finished: Path, tiny: dict[str, Any], tmp_path: Path, observed: Observed
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(finished / "results/tiny", folder)
    study = parse(tiny)
    # the first student of LM, whose logits serve the theory, and a shard of initialisation means
    (student,) = folder.glob("students/**/loss=lm/**/seed=0/logits.parquet")
    flipped = bytearray(student.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    student.write_bytes(flipped)
    next(folder.glob("init_means/**/means.parquet")).unlink()
    # whichever job wrote first
    (folder / "study.json").touch()
    replaced = salvage(study, folder)
    assert folder / "tables/runs.parquet" in replaced
    assert folder / "tables/layer_means.parquet" in replaced
    assert not list(folder.glob(".salvage*"))
    oldest = min(path.stat().st_mtime for path in folder.glob("students/**/run.json"))
    assert all(path.stat().st_mtime < oldest for path in replaced if path.exists())
    # of no initialisation means there is no figure, and the old one would be of another study
    assert folder / "figures/init_means.svg" in replaced
    assert not (folder / "figures/init_means.svg").exists()
    claims = read_table(folder / "claims.parquet", "claims").set_index("id")
    assert "logits.parquet is damaged" in claims.loc["equal-means", "measured_on"]
    assert claims.loc["equal-means", "verdict"] == "inconclusive"
    # random logits decide the equations
    assert "1 of 4 networks missing" in claims.loc["eq2", "measured_on"]
    assert claims.loc[["eq2", "b4-printed"], "verdict"].tolist() == ["supported", "refuted"]
    assert claims.loc[["prop1-linear", "table1"], "value"].isna().all()
    assert folder / "report.html" in replaced
    page = (folder / "report.html").read_text()
    assert "This study is not finished." in page
    assert "<li><code>figures/init_means.svg</code></li>" in page
    assert "<li><b>missing</b>: " in page
    # a second time there is nothing new to tell
    assert salvage(study, folder) == []
    observed(
        "tables, claims and figures of all else; what the damage bears upon is inconclusive and "
        "names the file"
    )

    shutil.rmtree(folder / "students")
    shutil.rmtree(folder / "teachers")
    with pytest.raises(InputError, match="no network of this study is there"):
        salvage(study, folder)


@pytest.mark.fault(
    "tables, claims and figures on a full disk",
    area="files",
    provoked="`kdlm salvage` after a failure, on a disk that takes not even one more folder",
)
def test_there_is_no_room_to_tell(
    finished: Path,
    small_disk: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    observed: Observed,
) -> None:
    folder = small_disk("size=64m,nr_inodes=2000") / "tiny"
    shutil.copytree(finished / "results/tiny", folder)
    claims = (folder / "claims.parquet").read_bytes()
    (folder / "filler").mkdir()
    with contextlib.suppress(OSError):
        for number in range(2000):
            (folder / f"filler/{number}").touch()
    assert main(["salvage", str(folder)]) == 1
    error = capsys.readouterr().err
    assert f"kdlm: {folder} cannot be written (No space left on device); free space" in error
    assert error.count("\n") == 1
    assert (folder / "claims.parquet").read_bytes() == claims
    observed("one line that names the folder; what was there stays")
