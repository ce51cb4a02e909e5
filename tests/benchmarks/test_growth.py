"""The benchmarks of growth: their fit, their made-up studies, and the config of 55dd775."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import made_up, scale
from benchmarks.made_up_config import UNIT
from benchmarks.made_up_config import made_up as made_up_config
from benchmarks.measuring import Cost, exponent, run
from kdlm.claims import judge
from kdlm.errors import InputError
from kdlm.study.config import Study, parse, read_config
from kdlm.study.jobs import network_jobs, student_jobs, teacher_jobs
from kdlm.tables.comparisons import compare_study
from kdlm.tables.init_means import summarise_study
from kdlm.tables.networks import networks
from kdlm.tables.runs import collect
from kdlm.tables.theory import measure

SIZES = (100, 1_000, 10_000)


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_the_fit_finds_the_exponent_whatever_the_constant(power: float, constant: float) -> None:
    values = [constant + 0.01 * size**power for size in SIZES]
    assert exponent(SIZES, values) == pytest.approx(power, abs=1e-6)
    # two points cannot tell a constant
    if not constant:
        assert exponent(SIZES[:2], values[:2]) == pytest.approx(power, abs=1e-6)


def test_what_does_not_grow_has_no_exponent() -> None:
    assert exponent(SIZES, [1.0, 1.02, 0.99]) == 0
    assert exponent(SIZES, [5.0, 1.0, 1.05]) == 0


def test_n_log_n_is_within_what_is_allowed_and_a_square_is_not() -> None:
    from math import log

    assert exponent(SIZES, [size * log(size) for size in SIZES]) < scale.MOST
    assert exponent(SIZES, [size**1.5 for size in SIZES]) > scale.MOST


def test_the_cost_of_a_command_is_its_own(tmp_path: Path) -> None:
    import sys

    code = "import time; x = bytearray(100_000_000); x[::4096] = x[::4096]; time.sleep(0.2)"
    cost = run([sys.executable, "-c", code], tmp_path)
    assert cost.seconds >= 0.2
    assert cost.megabytes > 90
    assert cost + cost == Cost(2 * cost.seconds, 2 * cost.processor, cost.megabytes)
    with pytest.raises(SystemExit, match="nothing here"):
        run([sys.executable, "-c", "raise SystemExit('nothing here')"], tmp_path)


@pytest.mark.parametrize("units", [1, 3])
def test_a_made_up_study_has_the_students_that_were_asked_for(units: int) -> None:
    study = parse(made_up_config(units * UNIT))
    assert len(list(student_jobs(study))) == units * UNIT
    assert len(teacher_jobs(study)) == 2 * units
    assert len(list(student_jobs(parse(made_up_config(0, seeds=16))))) == 6 * 16


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A made-up study, and its folder."""
    folder = tmp_path_factory.mktemp("results") / "made-up"
    study = parse(made_up_config(UNIT))
    made_up.write(study, folder)
    return study, folder


def test_made_up_results_are_those_of_a_finished_study(written: tuple[Study, Path]) -> None:
    study, folder = written
    found = networks(study, folder)
    assert len(found) == len(network_jobs(study))
    assert {network.status for network in found} == {"finished"}


def test_every_claim_is_measured_on_a_made_up_study(written: tuple[Study, Path]) -> None:
    """Else the benchmark would miss the time that a claim takes."""
    study, folder = written
    for gather in (collect, compare_study, summarise_study, measure):
        gather(study, folder)
    claims = judge(study, folder / "tables").set_index("id")
    unmeasured = set(claims.index[claims["n"] == 0])
    assert unmeasured <= {
        # made-up studies have one mean gap beside 0, no Adam, and one network of Table 1
        "gap-dose", "centred-classifier-adam", "table1", "table1-without-resnet44",
        "table1-resnet44", "eq8-untrained", "equal-means-untrained",
            # nor are they of CIFAR-100
            "published-accuracy",
    }  # fmt: skip


def test_empty_outputs_are_enough_for_snakemake(tmp_path: Path) -> None:
    study = parse(made_up_config(UNIT))
    made_up.touch(study, tmp_path)
    for job in network_jobs(study):
        assert (tmp_path / job.folder / "model.safetensors").stat().st_size == 0
    with pytest.raises(InputError):
        collect(study, tmp_path)


def test_the_config_of_55dd775_asks_for_what_it_asked_for() -> None:
    study = read_config(Path(made_up.__file__).with_name("digits_55dd775.yaml"))
    assert len(teacher_jobs(study)) == 2
    assert len(list(student_jobs(study))) == 78
    assert study.init_means.seeds == 100


def test_the_table_has_a_line_for_each_stage() -> None:
    costs: dict[str, Any] = {"collect": [Cost(2, 1 + 0.01 * size, 300) for size in SIZES]}
    first, collected, *_ = scale._table(SIZES, costs, {"results": [1, 2, 3]}).splitlines()
    assert first.split()[0] == "students"
    assert collected.split()[:5] == ["collect", "2.0", "11.0", "101.0", "1.00"]
    assert yaml.safe_dump(made_up_config(UNIT))
