"""What a reproduction says: columns and their tolerances, levels, verdicts, machines, samples."""

import json
from pathlib import Path
from typing import Any

import pytest

from kdlm.reproduce import machine
from kdlm.reproduce.columns import first_difference
from kdlm.reproduce.fixed import note_of_late_numbers
from kdlm.reproduce.machine import differences
from kdlm.reproduce.outcome import STRENGTH, Level, Outcomes, State
from kdlm.reproduce.rerun import draw, rerunnable
from kdlm.reproduce.verdicts import compare_verdicts
from kdlm.storage.parquet import write_table
from kdlm.study.config import parse
from kdlm.study.tolerances import Tolerance
from tests.forged import bare

# columns


def means(folder: Path, name: str, values: list[float | None], layer: str = "conv1") -> Path:
    rows = [
        {"seed": i, "layer": layer, "depth": 0, "kind": "convolution", "mean": value, "rms": 1.0}
        for i, value in enumerate(values)
    ]
    write_table("means", rows, folder / name)
    return folder / name


def complaint(
    folder: Path, one: list[float | None], other: list[float | None], **tolerance: float
) -> str | None:
    known = {"mean": Tolerance(absolute=0.0).model_copy(update=tolerance)}
    known |= dict.fromkeys(("sd_over_images", "rms", "predicted_sd"), Tolerance(absolute=1))
    return first_difference(
        means(folder, "one.parquet", one), means(folder, "other.parquet", other), "means", known
    )


def test_differences_that_cancel_are_differences(tmp_path: Path) -> None:
    assert complaint(tmp_path, [1, 2, 3, 4], [2, 1, 4, 3], absolute=0.99)
    assert complaint(tmp_path, [1, 2, 3, 4], [2, 1, 4, 3], absolute=1.01) is None


def test_a_tolerance_is_its_absolute_and_its_relative_part(tmp_path: Path) -> None:
    # rms of the archived is 2, of the difference 1
    one: list[float | None] = [2, -2, 2, -2]
    other: list[float | None] = [3, -3, 3, -3]
    assert complaint(tmp_path, one, other, absolute=0.5, relative=0.26) is None
    assert complaint(tmp_path, one, other, absolute=0.5, relative=0.24)
    assert complaint(tmp_path, one, other, absolute=1.01) is None
    assert complaint(tmp_path, one, other, relative=0.51) is None
    # of what was archived, not of the rerun
    assert complaint(tmp_path, other, one, relative=0.34) is None
    assert complaint(tmp_path, one, other, relative=0.34)


def test_null_in_one_of_two_is_a_difference(tmp_path: Path) -> None:
    assert complaint(tmp_path, [1, None], [1, None], absolute=1) is None
    for pair in (([1, None], [1, 1]), ([1, 1], [1, None])):
        found = complaint(tmp_path, *pair, absolute=1e9)
        assert found is not None
        assert "null in one" in found


def test_a_column_without_a_tolerance_has_to_be_equal(tmp_path: Path) -> None:
    tolerances = {"mean": Tolerance(absolute=1e9)}
    one = means(tmp_path, "one.parquet", [1.0])
    other = means(tmp_path, "other.parquet", [1.0], layer="conv2")
    found = first_difference(one, other, "means", tolerances)
    assert found == "column layer differs, and has no tolerance"


def test_another_number_of_rows_is_a_difference(tmp_path: Path) -> None:
    found = complaint(tmp_path, [1, 2], [1], absolute=1e9)
    assert found == "1 rows where there were 2"


@pytest.mark.parametrize(("epoch", "differs"), [(0, False), (1, False), (2, True)])
def test_of_a_history_the_last_epoch_is_looked_at(
    tmp_path: Path, epoch: int, differs: bool
) -> None:
    def history(name: str, other: int | None) -> Path:
        rows = [{"epoch": e, "split": "probe", "gap": 5.0 if e == other else 1.0} for e in range(3)]
        write_table("history", rows, tmp_path / name)
        return tmp_path / name

    one, other = history("one.parquet", None), history("other.parquet", epoch)
    found = first_difference(one, other, "history", {"gap": Tolerance(absolute=1)})
    assert (found is not None) == differs


# levels


def outcomes(*states: State) -> Outcomes:
    found = Outcomes((Level.RERUN,))
    for i, state in enumerate(states):
        found.add(f"results/s/{i}", Level.RERUN, state, "" if state == State.HELD else "a reason")
    return found


@pytest.mark.parametrize(
    ("states", "holds"),
    [
        ((State.HELD,), True),
        ((State.HELD, State.NOT_DONE), True),
        ((State.HELD, State.FAILED), False),
        ((State.HELD, State.REFUSED), False),
        ((State.NOT_DONE,), False),
        ((), False),
    ],
)
def test_a_level_holds_somewhere_and_fails_nowhere(states: tuple[State, ...], holds: bool) -> None:
    found = outcomes(*states)
    assert found.held(Level.RERUN) == holds
    assert (found.first_complaint() is None) == holds
    if states:
        assert ("DOES NOT HOLD" in found.as_table()) == (not holds)
    assert found.as_json()["levels"][Level.RERUN]["holds"] == holds


def test_a_difference_fails_and_says_so() -> None:
    found = Outcomes((Level.RERUN,))
    found.judge("results/s/a", Level.RERUN, "other bytes")
    found.judge("results/s/b", Level.RERUN, None)
    assert found.states["results/s/a"][Level.RERUN] == (State.FAILED, "other bytes")
    assert found.states["results/s/b"][Level.RERUN] == (State.HELD, "")
    assert found.first_complaint() == "L2 failed: results/s/a: other bytes"


def test_the_strongest_level_that_holds_is_told() -> None:
    # a rerun says more than a rebuilding, equal bytes more than tolerances, what is made more than
    # what is merely there
    assert list(STRENGTH) == [
        Level.RERUN, Level.TOLERANCE, Level.REBUILT, Level.VERDICT, Level.INTEGRITY,
    ]  # fmt: skip
    found = Outcomes(tuple(Level))
    for i, level in enumerate(reversed(STRENGTH)):
        found.judge("results/s/a", level, None)
        assert found.highest("results/s/a") == level, i
    found.judge("results/s/a", Level.RERUN, "other bytes")
    assert found.highest("results/s/a") == Level.TOLERANCE


# verdicts


def claims(folder: Path, *verdicts: str) -> Path:
    rows = [
        {"id": "eq1", "form": "as stated", "verdict": verdict, "measured_on": str(i)}
        for i, verdict in enumerate(verdicts)
    ]
    write_table("claims", rows, folder / "claims.parquet")
    return folder


def judged(tmp_path: Path, tiny: dict[str, Any], before: list[str], after: list[str]) -> Outcomes:
    unpacked = bare(tmp_path, tiny)
    claims(unpacked.results, *before)
    found = Outcomes((Level.VERDICT,))
    compare_verdicts(unpacked, claims(tmp_path / "now", *after), found)
    return found


@pytest.mark.parametrize(
    ("before", "after", "holds"),
    [
        (["supported"], ["supported"], True),
        (["supported"], ["refuted"], False),
        (["supported", "refuted"], ["supported", "refuted"], True),
        # two of one name are told apart
        (["supported", "refuted"], ["refuted", "supported"], False),
        (["supported", "refuted"], ["refuted", "refuted"], False),
        (["supported"], ["supported", "refuted"], False),
        (["supported", "refuted"], ["supported"], False),
    ],
)
def test_every_verdict_has_to_be_the_same(
    tmp_path: Path, tiny: dict[str, Any], before: list[str], after: list[str], holds: bool
) -> None:
    assert judged(tmp_path, tiny, before, after).held(Level.VERDICT) == holds


# machines


RUN = {
    "machine": "x86_64", "processor": "one", "cpu_capability": "AVX2", "device": "cpu",
    "device_name": None, "python": "3.11.7",
    "packages": dict.fromkeys(("torch", "torchvision", "numpy", "pyarrow", "safetensors"), "1"),
}  # fmt: skip


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Builds of packages, which are those that are installed."""
    monkeypatch.setattr(machine, "_build", lambda name: f"build of {name}")
    return {
        name: {"sha256": f"build of {name}"}
        for name in ("torch", "numpy", "scikit-learn", "pillow")
    }


def test_the_same_machine_has_no_difference(installed: dict[str, dict[str, str]]) -> None:
    assert differences(RUN, RUN, installed) == []


@pytest.mark.parametrize("key", [key for key in RUN if key != "packages"])
def test_whatever_decides_the_last_bits_is_a_difference(
    installed: dict[str, dict[str, str]], key: str
) -> None:
    (found,) = differences(RUN, RUN | {key: "another"}, installed)
    assert found.startswith(f"{key}: ")


@pytest.mark.parametrize("name", ["torch", "torchvision", "numpy", "pyarrow", "safetensors"])
def test_another_version_is_a_difference(installed: dict[str, dict[str, str]], name: str) -> None:
    packages: Any = RUN["packages"]
    found = differences(RUN, RUN | {"packages": packages | {name: "2"}}, installed)
    assert f"{name}: 1 there, 2 here" in found


@pytest.mark.parametrize("name", ["torch", "numpy", "scikit-learn", "pillow"])
def test_another_build_of_a_version_is_a_difference(
    installed: dict[str, dict[str, str]], name: str
) -> None:
    installed[name] = {"sha256": "another build"}
    assert differences(RUN, RUN, installed) == [f"{name}: another build of the same version"]


# what was fixed before


@pytest.mark.parametrize(
    ("written", "noted"), [(5.0, False), (10.0, False), (10.5, True), (None, True)]
)
def test_numbers_younger_than_the_first_training_are_noted(
    tmp_path: Path, tiny: dict[str, Any], written: float | None, noted: bool
) -> None:
    records = {
        "results/tiny/study.json": {"starttime": written},
        "results/tiny/teachers/a/history.parquet": {"starttime": 12.0},
        "results/tiny/init_means/a/means.parquet": {"starttime": 10.0},
        "results/tiny/data/digits.safetensors": {"starttime": 1.0},
    }
    (tmp_path / "snakemake").mkdir()
    (tmp_path / "snakemake/records.json").write_text(json.dumps(records))
    unpacked = bare(tmp_path, tiny)
    assert (note_of_late_numbers(unpacked, [Level.VERDICT]) is not None) == noted
    assert note_of_late_numbers(unpacked, [Level.RERUN]) is None


# samples


def test_a_sample_is_its_seeds_and_no_larger_than_asked_for(tiny: dict[str, Any]) -> None:
    jobs = rerunnable(parse(tiny))
    samples = {seed: [job.folder for job in draw(jobs, 4, seed)] for seed in range(8)}
    assert all(len(set(sample)) == 4 for sample in samples.values())
    assert len({tuple(sample) for sample in samples.values()}) > 4
    assert [job.folder for job in draw([*reversed(jobs)], 4, 3)] == [*reversed(samples[3])]
    assert draw(jobs, 10_000, 0) == jobs
