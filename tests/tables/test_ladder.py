"""The ladder: which jitter of the initial weights is as much as a distance between two losses."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdlm.tables.ladder import Ladder, ladders

INF, NAN = math.inf, math.nan

# Measured on digits in float64, two seeds: KD at T = inf with its initial weights jittered, as a
# share of the distance between two seeds of centred test logits.
MEASURED = {
    1e-10: (4e-9, 6e-9), 1e-8: (7e-8, 8e-8), 1e-6: (0.33, 0.32), 1e-5: (0.48, 0.42),
    1e-4: (0.64, 0.50), 1e-3: (0.65, 0.57), 1e-2: (0.59, 0.70),
}  # fmt: skip
LADDER = Ladder(
    np.array(list(MEASURED)), np.array([(one + other) / 2 for one, other in MEASURED.values()])
)


def read(share: float, ladder: Ladder = LADDER) -> float:
    return float(ladder.jitter(np.array(share)))


def test_the_measured_ladder_has_a_cliff_and_a_plateau() -> None:
    assert LADDER.flat
    assert LADDER.saturation == pytest.approx((0.59 + 0.70) / 2 / 2)
    assert LADDER.plateau_from == 1e-6


@pytest.mark.parametrize(
    ("measured", "shares"),
    [
        ("LM", (0.64, 0.55)),
        ("KD at 1e4", (0.51,)),
        ("KD at 1e5", (0.47, 0.42)),
        ("KD at 1e6", (0.62, 0.41)),
    ],
)
def test_what_lies_on_the_plateau_is_saturated(measured: str, shares: tuple[float, ...]) -> None:
    assert all(read(share) == INF for share in shares), measured


def test_kd_at_1e7_is_a_jitter_between_the_rungs() -> None:
    """The line through (1e-8, 7.5e-8) and (1e-6, .325), both axes logarithmic, by hand."""
    for share in (0.056, 0.027):
        part = (math.log10(share) - math.log10(7.5e-8)) / (math.log10(0.325) - math.log10(7.5e-8))
        assert read(share) == pytest.approx(10 ** (-8 + 2 * part), rel=1e-9)
        assert 1e-7 < read(share) < 1e-6


def test_the_small_plateau_of_another_recipe_saturates_as_well() -> None:
    """Learning rate .01 without momentum: LM is .088/.067, where the plateau is .085/.063."""
    rungs = {1e-8: (2e-5 + 5e-8) / 2, 1e-6: 0.038, 1e-4: 0.048, 1e-2: 0.074}
    small = Ladder(np.array(list(rungs)), np.array(list(rungs.values())))
    assert (small.plateau_from, small.saturation) == (1e-6, 0.037)
    assert [read(share, small) for share in (0.088, 0.067)] == [INF, INF]
    assert 1e-8 < read(0.012, small) < 1e-6


def test_below_the_lowest_rung_a_distance_is_nothing() -> None:
    assert read(4.9e-9) == 0
    assert read(0.0) == 0
    assert read(5e-9) == pytest.approx(1e-10)
    assert math.isnan(read(NAN))


def test_a_rung_that_does_no_more_than_a_smaller_one_is_passed_over() -> None:
    ladder = Ladder(np.array([1e-8, 1e-7, 1e-6, 1e-4, 1e-3]), np.array([1e-3, 1e-4, 0.1, 0.9, 0.8]))
    # from 1e-8 at 1e-3 straight to 1e-6 at .1
    assert read(1e-2, ladder) == pytest.approx(1e-7)
    assert read(1e-3, ladder) == pytest.approx(1e-8)


def test_a_ladder_that_ends_before_its_plateau_reads_up_to_its_last_rung() -> None:
    ladder = Ladder(np.array([1e-10, 1e-8]), np.array([1e-8, 1e-6]))
    assert not ladder.flat
    assert read(0.9e-6, ladder) == pytest.approx(10 ** (-10 + 2 * math.log10(90) / 2))
    assert read(1e-6, ladder) == INF


@pytest.mark.parametrize("count", [1, 2])
def test_rungs_that_move_nothing_read_everything_as_too_far(count: int) -> None:
    ladder = Ladder(np.logspace(-14, -13, count), np.zeros(count))
    assert [read(share, ladder) for share in (0.0, 1e-15, 0.5)] == [0, INF, INF]
    assert math.isnan(read(NAN, ladder))
    assert not ladder.flat


@given(
    st.lists(st.floats(1e-15, 2), min_size=1, max_size=8),
    st.lists(st.floats(0, 3), min_size=2, max_size=20),
)
def test_further_apart_is_never_a_smaller_jitter(rungs: list[float], shares: list[float]) -> None:
    ladder = Ladder(np.logspace(-14, -2, len(rungs)), np.array(rungs))
    found = ladder.jitter(np.sort(shares))
    assert (found[1:] >= found[:-1] * (1 - 1e-12)).all()
    # the smallest rung that does as much is no smaller than what is read
    for share, jitter in zip(np.sort(shares), found, strict=True):
        enough = [e for e, s in zip(ladder.rungs, rungs, strict=True) if s >= share]
        if enough and jitter < INF:
            assert jitter <= min(enough) * (1 + 1e-9)


def rung(e: float, share: float, seed: int = 0, **changes: object) -> dict[str, object]:
    side = {"loss": "kd", "temperature": INF, "means": "trained-teacher", "mean_gap": 0.0} | changes
    return {
        "kind": "rung", "teacher": "t", "teacher_seed": 0, "architecture": "resnet8",
        "initialisation": "he", "recipe": "student", "logits_share": share,
        **{f"{key}_{which}": value for which in "ab" for key, value in side.items()},
        "relative_perturbation_a": 0.0, "relative_perturbation_b": e, "seed_a": seed,
    }  # fmt: skip


def test_the_ladder_of_kd_at_the_largest_temperature_counts() -> None:
    others = [
        rung(1e-8, 0.1, loss="ce", temperature=1.0),
        rung(1e-8, 0.2, temperature=4.0),
        rung(1e-8, 0.3, mean_gap=5.0),
        rung(1e-8, 0.4, means="natural"),
        rung(1e-8, 0.5),
        rung(1e-8, 0.7, seed=1),
    ]
    for rows in (others, others[::-1]):
        (found,) = ladders(pd.DataFrame(rows), "logits_share").values()
        assert found.shares == pytest.approx([0.6])
    (found,) = ladders(pd.DataFrame(others[:3]), "logits_share").values()
    assert found.shares == pytest.approx([0.3])
    (found,) = ladders(pd.DataFrame(others[:1]), "logits_share").values()
    assert found.shares == pytest.approx([0.1])


def test_each_group_has_its_own_ladder_and_a_lost_rung_leaves_none() -> None:
    rows = [
        rung(1e-8, 0.1),
        rung(1e-6, 0.5),
        rung(1e-8, 0.2) | {"recipe": "adam"},
        rung(1e-6, NAN) | {"recipe": "adam"},
        rung(1e-6, 0.3) | {"teacher_seed": 1},
    ]
    found = ladders(pd.DataFrame(rows), "logits_share")
    assert {group[1:2] + group[4:]: list(one.shares) for group, one in found.items()} == {
        (0, "student"): [0.1, 0.5],
        (1, "student"): [0.3],
    }
    assert ladders(pd.DataFrame(rows).iloc[:0], "logits_share") == {}
