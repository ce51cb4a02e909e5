"""The power of an equivalence test against simulations, and what a config is said to decide."""

import dataclasses
import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from kdlm.claims import CLAIMS, distributional, initial
from kdlm.claims.evidence import Claim, over_seeds, worst
from kdlm.claims.planned import planned
from kdlm.claims.power import (
    equivalence_power,
    fewest_units,
    format_powers,
    largest_difference,
    largest_sd,
    powers,
)
from kdlm.claims.statistics import confidence_interval, verdict
from kdlm.cli import main
from kdlm.storage.parquet import write_table
from kdlm.study.config import parse
from kdlm.study.schemas import SCHEMAS
from tests.claims import world_distributional as world

INF = math.inf
MARGIN = (-0.01, 0.01)
sizes, sds = st.integers(2, 40), st.floats(0.05, 3)


@pytest.mark.parametrize(
    ("n", "sd", "power"),
    [(3, 0.0064, 0.36), (6, 0.0064, 0.89), (3, 0.013, 0.06), (17, 0.013, 0.83)],
)
def test_the_reviews_numbers(n: int, sd: float, power: float) -> None:
    assert equivalence_power(n, sd, MARGIN) == pytest.approx(power, abs=0.005)


def test_the_reviews_seeds() -> None:
    """Six and, by its normal approximation, seventeen; sixteen have .803 already."""
    assert fewest_units(0.0064, MARGIN) == 6
    assert fewest_units(0.013, MARGIN) == 16
    assert equivalence_power(15, 0.013, MARGIN) < 0.8 < equivalence_power(16, 0.013, MARGIN)


@pytest.mark.parametrize(
    ("n", "sd", "margin", "difference", "level"),
    [
        (2, 1.0, (-20.0, 20.0), 0.0, 0.9),
        (3, 0.6, (-1.0, 1.0), 0.3, 0.9),
        (5, 0.8, (-1.0, 1.0), 0.0, 0.975),
        (5, 0.5, (-1.0, 2.0), 0.9, 0.9),
        (8, 2.0, (-INF, 1.0), -0.5, 0.95),
        (12, 0.5, (0.2, INF), 0.6, 0.9),
        (30, 1.5, (-1.0, 1.0), 1.0, 0.9),
    ],
)
def test_the_power_is_how_often_a_simulated_study_is_supported(
    n: int, sd: float, margin: tuple[float, float], difference: float, level: float
) -> None:
    """By the functions that decide claims, study by study."""
    draws, generator = 4000, np.random.default_rng(n)
    supported = sum(
        verdict(*confidence_interval(values, level), *margin) == "supported"
        for values in generator.normal(difference, sd, size=(draws, n))
    )
    power = equivalence_power(n, sd, margin, difference, level)
    error = math.sqrt(max(power * (1 - power), 1 / draws) / draws)
    assert supported / draws == pytest.approx(power, abs=4 * error)


@given(sizes, st.floats(0.3, 3), st.floats(0, 1.5), st.floats(0.8, 0.99))
def test_one_sided_it_is_the_noncentral_t(
    n: int, sd: float, difference: float, level: float
) -> None:
    """The upper end is below b where (mean − b)√n/s is at most −t."""
    noncentral = stats.nct(n - 1, (difference - 1) * math.sqrt(n) / sd)
    expected = noncentral.cdf(-stats.t.ppf((1 + level) / 2, n - 1))
    # scipy has no number for some that are far out
    assume(math.isfinite(expected))
    found = equivalence_power(n, sd, (-INF, 1.0), difference, level)
    assert found == pytest.approx(expected, abs=1e-6)


@given(sizes, sds, st.floats(0, 1.5), st.floats(0.1, 10))
def test_the_power_has_no_unit_and_no_sign(
    n: int, sd: float, difference: float, scale: float
) -> None:
    power = equivalence_power(n, sd, (-1.0, 1.0), difference)
    assert equivalence_power(n, sd, (-1.0, 1.0), -difference) == pytest.approx(power, abs=1e-9)
    moved = equivalence_power(n, scale * sd, (5 - scale, 5 + scale), 5 + scale * difference)
    assert moved == pytest.approx(power, abs=1e-7)


@given(st.integers(3, 60), st.floats(0.9, 0.99), st.sampled_from([(-1.0, 1.0), (-INF, 1.0)]))
def test_the_largest_sd_has_the_wanted_power(
    n: int, level: float, margin: tuple[float, float]
) -> None:
    sd = largest_sd(n, margin, level)
    assert equivalence_power(n, sd, margin, 0.0, level) == pytest.approx(0.8, abs=1e-6)
    assert equivalence_power(n, 1.01 * sd, margin, 0.0, level) < 0.8
    # as many units as that, and none less
    assert fewest_units(0.999 * sd, margin, level) == n


@given(st.integers(5, 60), st.floats(0.05, 0.9))
def test_the_largest_difference_has_the_wanted_power(n: int, share: float) -> None:
    sd = share * largest_sd(n, (-1.0, 1.0))
    difference = largest_difference(n, sd, (-1.0, 1.0))
    assert 0 < difference < 1
    assert equivalence_power(n, sd, (-1.0, 1.0), difference) == pytest.approx(0.8, abs=1e-6)


def test_the_limits() -> None:
    assert equivalence_power(1, 0.1, MARGIN) == 0
    assert equivalence_power(5, 0.0, MARGIN) == 1
    assert equivalence_power(5, 0.0, MARGIN, 0.02) == 0
    assert equivalence_power(5, 1e-9, MARGIN) == pytest.approx(1)
    assert equivalence_power(5, 1e9, MARGIN) == pytest.approx(0, abs=1e-6)
    assert largest_difference(5, 0.0, MARGIN) == 0.01
    assert math.isnan(largest_difference(5, 0.1, MARGIN))
    assert fewest_units(0.0, MARGIN) == 2
    # zero is outside, whatever the number of units
    assert math.isnan(largest_sd(50, (0.1, 1.0)))
    assert fewest_units(0.1, (0.1, 1.0)) is None


# configs

STUDENTS = {0: list(range(6))}


def by_claim(tiny: dict[str, Any], students: dict[int, list[int]], measured: Any = None) -> Any:
    plan = planned(world.study(tiny, students))
    found = powers(distributional.CLAIMS, plan, measured)
    return {(power.claim.id, power.claim.form): power for power in found}


@pytest.mark.parametrize(
    ("students", "n"),
    [
        ({0: [0, 1, 2]}, 3),
        (STUDENTS, 6),
        ({0: [0, 1, 2], 1: [3, 4]}, 2),
        ({i: [i, 9] for i in range(7)}, 7),
    ],
)
def test_the_units_are_those_that_the_study_is_going_to_have(
    tiny: dict[str, Any], tmp_path: Path, students: dict[int, list[int]], n: int
) -> None:
    study = world.study(tiny, students)
    world.write(study, tmp_path)
    measured = world.evidence(study, tmp_path)
    for (claim, form), power in by_claim(tiny, students).items():
        assert power.n == n
        assert world.judged(measured, claim, form)["n"] == n


@pytest.mark.parametrize("layer_seeds", [0, 6, 9])
def test_claims_about_initialisation_have_the_seeds_that_record_their_layers(
    tiny: dict[str, Any], layer_seeds: int
) -> None:
    means = tiny["init_means"] | {"seeds": 9, "layer_seeds": layer_seeds}
    found = powers(initial.CLAIMS, planned(parse(tiny | {"init_means": means})))
    units = {power.claim.id: power.n for power in found}
    assert (units["prop1-linear"], units["prop1-conv"]) == (9, layer_seeds)


def test_without_a_study_the_sd_is_the_largest_that_is_decided(tiny: dict[str, Any]) -> None:
    power = by_claim(tiny, STUDENTS)["equivalence-accuracy", "as stated"]
    # two temperatures, so that each interval has the level .95
    assert power.sd == pytest.approx(largest_sd(6, MARGIN, 0.95))
    assert (power.power, power.more) == (0.8, 0)
    few = by_claim(tiny, {0: [0, 1, 2]})["equivalence-accuracy", "as stated"]
    assert math.isnan(few.sd)
    assert (few.power, few.more) == (0, 2)


def test_with_a_study_the_sd_is_that_of_its_raw_logits(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    before = world.study(tiny, {0: [0, 1, 2, 3]})
    world.write(before, tmp_path)
    measured = world.evidence(before, tmp_path)
    sd = 0.0
    for temperature in ("10000", "inf"):
        values = []
        for seed in range(4):
            kd, labels = world.read(tmp_path, loss="kd", temperature=temperature, seed=seed)
            lm, _ = world.read(tmp_path, loss="lm", temperature="inf", seed=seed)
            values.append((kd.argmax(1) == labels).mean() - (lm.argmax(1) == labels).mean())
        sd = max(sd, float(np.std(values, ddof=1)))
    power = by_claim(tiny, STUDENTS, measured)["equivalence-accuracy", "as stated"]
    assert power.n == 6
    assert power.sd == pytest.approx(sd)
    assert power.power == pytest.approx(equivalence_power(6, sd, MARGIN, 0.0, 0.95))
    assert power.up_to == pytest.approx(largest_difference(6, sd, MARGIN, 0.95))
    least = fewest_units(sd, MARGIN, 0.95)
    assert least is not None
    assert power.more == max(least - 6, 0)
    few = by_claim(tiny, {0: [0, 1, 2]}, measured)["equivalence-accuracy", "as stated"]
    assert few.power == 0
    assert few.more == max(least, 5) - 3


def test_a_single_unit_has_a_row_without_power(tiny: dict[str, Any]) -> None:
    alone = by_claim(tiny, {0: [0]})["equivalence-accuracy", "as stated"]
    assert (alone.n, alone.power, alone.more) == (1, 0, 4)


def test_of_several_groups_the_fewest_units_and_the_largest_sd_count(
    tiny: dict[str, Any],
) -> None:
    groups = [pd.Series([0.0, 1, 2, 3, 4, 5]), pd.Series(np.linspace(0, 1, 9))]
    both = [over_seeds(values, "these", 0.95) for values in groups]
    plan = planned(world.study(tiny, STUDENTS))
    margin = (-9.0, 9.0)
    for decisive in (worst(both, margin), worst(both[::-1], margin)):
        claim = Claim(
            "c", "as stated", "(1)", "s", "s", lambda _: margin, Mock(return_value=decisive)
        )
        (without,), (with_sd,) = powers([claim], plan), powers([claim], plan, plan)
        assert (without.n, with_sd.n) == (6, 6)
        assert with_sd.sd == pytest.approx(groups[0].std())


def test_a_claim_without_students_says_why(tiny: dict[str, Any]) -> None:
    study = world.study(tiny, STUDENTS)
    arms = [arm.model_dump() | {"losses": ("kd", "lm")} for arm in study.arms]
    plan = planned(parse(study.model_dump() | {"arms": arms}))
    found = powers(distributional.CLAIMS, plan)
    text = format_powers(found)
    assert {power.claim.form for power in found if power.n} == {"as stated"}
    assert "equivalence-accuracy (corrected): not measured with this config: no" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("losses", "temperatures", "seeds"),
    [(["ce"], [], [0]), (["kd"], [math.inf], [0]), (["lm"], [], [0, 1]), (["kd", "lm"], [4], [0])],
)
def test_any_config_has_a_power(
    tiny: dict[str, Any], losses: list[str], temperatures: list[float], seeds: list[int]
) -> None:
    study = world.study(tiny, {0: seeds})
    (arm,) = [arm.model_dump() for arm in study.arms]
    arms = [arm | {"losses": losses, "temperatures": temperatures}]
    found = powers(CLAIMS, planned(parse(study.model_dump() | {"arms": arms})))
    for power in found:
        assert power.n or power.reason
        assert power.power == 0 or power.n == 0 or power.n >= 5
    assert max(map(len, format_powers(found).splitlines())) <= 100


# the command


@pytest.fixture
def config_file(tiny: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(world.study(tiny, STUDENTS).model_dump(mode="json")))
    return path


def test_the_command_prints_a_table(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", str(config_file)]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert max(map(len, lines)) <= 100
    (line,) = [line for line in lines if line.startswith("equivalence-accuracy      as stated")]
    sd = largest_sd(6, MARGIN, 0.95)
    assert line.split()[3:] == ["6", "-0.01", "to", "0.01", f"{sd:.3g}", "0.80", "-", "0"]
    assert not any(line.startswith("eq7") for line in lines)
    assert "finished on" not in printed.err


def test_the_command_takes_the_sd_from_a_folder(
    tiny: dict[str, Any], config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, folder = world.study(tiny, {0: [0, 1, 2, 3]}), tmp_path / "before"
    world.write(before, folder)
    measured = world.evidence(before, folder)
    (folder / "study.json").write_text(before.canonical_json())
    for field in dataclasses.fields(measured):
        if field.name in SCHEMAS:
            write_table(
                field.name, getattr(measured, field.name), folder / f"tables/{field.name}.parquet"
            )
    assert main(["power", str(config_file), "--from", str(folder)]) == 0
    out = capsys.readouterr().out
    power = by_claim(tiny, STUDENTS, measured)["equivalence-calibration", "as stated"]
    (line,) = [one for one in out.splitlines() if one.startswith("equivalence-calibration   as")]
    assert f"{power.sd:.3g}" in line.split()
    assert f"as measured in {folder}" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("study: [", "not YAML"),
        ("study: a\nstudy: b\n", "the key 'study' is given twice"),
        ("", "the file is empty"),
        ("- 1\n", "a config is a mapping"),
    ],
)
def test_a_config_that_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["power", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"kdlm: {path}")
    assert said in error
    assert error.count("\n") == 1


def test_a_key_that_is_wrong_is_named(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load(config_file.read_text())
    config_file.write_text(yaml.safe_dump(config | {"margins": {"acuracy": 0.1}}))
    assert main(["power", str(config_file)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"kdlm: {config_file}: margins.acuracy")


def test_a_folder_that_is_no_study_is_one_line(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["power", str(config_file), "--from", str(tmp_path)]) == 1
    assert "study.json is missing" in capsys.readouterr().err
