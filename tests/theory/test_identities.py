"""The identities hold where they should, and are seen to fail where they do not."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdlm.losses import centred_lm_loss, lm_loss
from kdlm.study.schemas import SCHEMAS
from kdlm.theory import identities as module
from kdlm.theory.gradient_limit import random_logits
from kdlm.theory.identities import Case, identities, random_cases

EXACT = [
    "eq1",
    "eq2",
    "eq4-zero-mean",
    "eq5",
    "eq6",
    "eq8-corrected",
    "energy-identity",
    "a3",
    "b3",
    "b4-corrected",
]
PRINTED = ["eq7-printed", "eq8-printed", "b4-printed"]

CASES = list(random_cases(samples=20, seed=0))


def worst(case: Case) -> dict[str, float]:
    values: dict[str, float] = {}
    for row in identities(case):
        values[row["claim"]] = max(values.get(row["claim"], 0.0), row["value"])
    return values


def case_of(student: Tensor, teacher: Tensor) -> Case:
    return Case("test", student, teacher, torch.zeros(len(student), dtype=torch.int64))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_is_exact_holds_to_rounding(case: Case) -> None:
    values = worst(case)
    assert {claim: values[claim] for claim in EXACT if values[claim] > 1e-12} == {}
    assert values["eq7-corrected"] < 1e-4
    assert 1 <= values["eq3-scale"] < 10


@pytest.mark.parametrize("claim", PRINTED)
def test_printed_forms_are_violated_by_hundreds_of_per_cent(claim: str) -> None:
    assert max(worst(case)[claim] for case in CASES) > 2


def test_printed_forms_hold_where_the_means_agree() -> None:
    for case in CASES:
        if case.name.endswith("c^s - c^t = 0"):
            assert worst(case)["eq8-printed"] < 1e-12
        elif "c^s - c^t" in case.name:
            assert worst(case)["eq7-printed"] > 0.1


def test_smallest_violation_of_b4_is_the_errata_s() -> None:
    values = worst(CASES[-1])
    assert CASES[-1].student.tolist() == [[10, 10]]
    # CE = log 2; the bound as printed is −10 + 20
    assert values["b4-printed"] == pytest.approx(10 - math.log(2))
    assert values["b4-corrected"] < 1e-12


def test_cases_cover_means_of_five_and_gaps_of_at_least_one() -> None:
    gaps = {
        (
            round(float(case.teacher.mean()), 9),
            round(float(case.student.mean() - case.teacher.mean()), 9),
            case.student.shape[1],
        )
        for case in CASES[:-1]
    }
    assert gaps == {(mean, gap, k) for mean in (0, 5) for gap in (0, 1, -4) for k in (2, 10, 100)}
    assert len({case.name for case in CASES}) == len(CASES)


def test_cases_depend_on_the_seed_alone() -> None:
    again = list(random_cases(samples=20, seed=0))
    other = list(random_cases(samples=20, seed=1))
    for a, b, c in zip(CASES[:-1], again, other, strict=False):
        assert torch.equal(a.student, b.student)
        assert torch.equal(a.targets, b.targets)
        assert not torch.equal(a.student, c.student)


def test_rows_are_those_of_the_schema() -> None:
    rows = identities(CASES[0])
    assert all(set(row) == set(SCHEMAS["identities"]) for row in rows)
    assert {row["form"] for row in rows} == {"printed", "corrected", "as stated"}
    assert {row["claim"] for row in rows} == {*EXACT, *PRINTED, "eq7-corrected", "eq3-scale"}


def test_float32_logits_are_evaluated_in_float64() -> None:
    case = CASES[8]
    narrow = Case(case.name, case.student.float(), case.teacher.float(), case.targets)
    values = worst(narrow)
    assert max(values[claim] for claim in EXACT) < 1e-12


@given(
    st.integers(0, 2**32),
    st.sampled_from([2, 10, 100]),
    st.floats(1, 60),
    st.floats(-10, 10),
    st.floats(1e-2, 1),
)
@settings(max_examples=30, deadline=None)
def test_identities_hold_for_confident_and_for_close_logits(
    seed: int, num_classes: int, spread: float, mean: float, closeness: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    noise, teacher = random_logits(
        10, num_classes, spread, student_mean=mean, teacher_mean=-mean, generator=generator
    )
    values = worst(case_of(teacher + closeness * noise, teacher))
    assert {claim: values[claim] for claim in EXACT if values[claim] > 1e-9} == {}


def test_confident_samples_do_not_pass_for_a_violation_of_eq6() -> None:
    # 1 − p is 2e-35: p − 1 is 0 in float64, and the other classes alone would be left
    student = torch.tensor([[80.0, 0.0, -1.0]], dtype=torch.float64)
    assert worst(case_of(student, student.flip(1)))["eq6"] < 1e-12


# a wrong loss in the place of the right one, and the claims that have to notice
WRONG: dict[str, tuple[Callable[..., Tensor], set[str]]] = {
    "softened": (lambda z, t: torch.softmax(z / t, dim=1) * (1 + 1e-6), {"eq1"}),
    "lm_loss": (lambda s, t: (s - t).square().mean(), {"eq2", "energy-identity"}),
    "kd_gradient": (lambda s, t, temp: (s - t) / s.shape[1] / min(temp, 1e6) ** 2, {"eq3-scale"}),
    "centred_lm_loss": (
        lambda s, t: (s - t).square().mean() / 2,
        {"eq8-corrected", "energy-identity"},
    ),
    "cross_entropy_lower_bound": (
        lambda z, y, **_: z.logsumexp(dim=1).mean() - z.gather(1, y[:, None]).mean() + 1e-6,
        {"b4-corrected"},
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_formula_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    wrong, claims = WRONG[name]
    monkeypatch.setattr(module, name, wrong)
    values = worst(CASES[8])
    for claim in claims:
        assert values[claim] > (10 if claim == "eq3-scale" else 1e-7)


def test_the_identity_of_the_energy_is_that_of_plain_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sample by hand, and an energy that is wrong in either its value or its gradient."""
    # d = (1, 3): LM is (1 + 9)/4, the gap 2, and centred LM ((-1)^2 + 1^2)/4
    student = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
    case = case_of(student, torch.zeros(1, 2, dtype=torch.float64))
    assert float(lm_loss(student, case.teacher)) == 2.5
    assert float(centred_lm_loss(student, case.teacher)) == 2.5 - 2**2 / 2
    assert worst(case)["energy-identity"] == pytest.approx(0, abs=1e-15)

    def heavier(s: Tensor, t: Tensor) -> Tensor:
        return lm_loss(s, t) + 1e-6

    def steeper(s: Tensor, t: Tensor) -> Tensor:
        # the value stays, the gradient of one logit does not
        return lm_loss(s, t) + 1e-6 * (s - s.detach())[:, 0].mean()

    for wrong in (heavier, steeper):
        monkeypatch.setattr(module, "lm_loss", wrong)
        assert worst(case)["energy-identity"] > 1e-7


def test_lm_in_the_place_of_kd_breaks_what_is_about_kd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "kd_gradient", lambda s, t, _: (s - t) / s.shape[1])
    values = worst(CASES[8])
    assert values["eq5"] > 0.1
    assert values["eq7-corrected"] > 0.1
    assert values["a3"] > 0.1
