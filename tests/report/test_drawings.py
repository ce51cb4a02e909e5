"""Where the parts of a drawing stand: in it, in the order of the numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdlm.claims.shown import ShownClaim
from kdlm.report.drawings import WIDTH, draw_accuracies, draw_interval
from kdlm.tables.accuracies import Accuracy

NUMBERS = st.floats(-1e6, 1e6) | st.floats(1e-16, 1e4)


def claim(value: float, low: float, high: float, margin: tuple[float, float]) -> ShownClaim:
    return ShownClaim(
        "key", "id", "as stated", "statement", "statistic", "unit", "value", "interval", "margin",
        value, low, high, *margin, 5, "refuted", "", "digits", "digits",
    )  # fmt: skip


@given(st.lists(NUMBERS, min_size=3, max_size=3), st.lists(NUMBERS, min_size=2, max_size=2))
def test_places_are_inside_and_in_the_order_of_the_numbers(
    interval: list[float], margin: list[float]
) -> None:
    low, value, high = sorted(interval)
    first, last = sorted(margin)
    drawn = draw_interval(claim(value, low, high, (first, last)))
    assert drawn is not None
    numbers = {low: drawn.low, value: drawn.point, high: drawn.high, first: drawn.margin_low,
               last: drawn.margin_high}  # fmt: skip
    places = [numbers[number] for number in sorted(numbers)]
    assert places == sorted(places)
    assert all(0 <= place <= WIDTH for place in places)


@pytest.mark.parametrize(
    ("value", "margin", "inside"),
    [(7.3e-1, 1e-2, False), (3.9e-14, 1e-2, True), (0.67, 1.0, True), (2.6, 0.1, False)],
)
def test_a_dot_is_in_the_margin_where_the_number_is(
    value: float, margin: float, inside: bool
) -> None:
    drawn = draw_interval(claim(value, value, value, (-math.inf, margin)))
    assert drawn is not None
    assert (drawn.margin_low <= drawn.point <= drawn.margin_high) == inside
    assert drawn.margin_low == 0
    assert drawn.logarithmic == (not 0.05 < value / margin < 20)


def test_an_interval_without_ends_fills_the_drawing() -> None:
    drawn = draw_interval(claim(0.1, -math.inf, math.inf, (-0.5, 0.5)))
    assert drawn is not None
    assert (drawn.low, drawn.high) == (0, WIDTH)


def test_what_was_not_measured_is_not_drawn() -> None:
    assert draw_interval(claim(math.nan, math.nan, math.nan, (-math.inf, 1))) is None
    assert draw_accuracies([]) is None


def test_accuracies_share_an_axis_with_round_ticks() -> None:
    found = [Accuracy("CE", 0.93, 0.92, 0.94, 5), Accuracy("LM", 0.9, -math.inf, math.inf, 1)]
    drawn = draw_accuracies(found)
    assert drawn is not None
    (_, mean, low, high), (_, other, first, last) = drawn.rows
    assert first == 0 <= other < low < mean < high <= WIDTH == last
    assert [label for _, label in drawn.ticks] == ["90 %", "91 %", "92 %", "93 %", "94 %"]
    places = [place for place, _ in drawn.ticks]
    assert places == sorted(places)
    assert places[3] == pytest.approx(mean)
