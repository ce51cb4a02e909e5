"""Claims about initialisation, on the made-up study."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from kdlm.claims import CLAIMS
from tests.claims.world import AS_STATED, EVIDENCE, both, changed, row, scaled, shifted


def test_a_case_that_refutes_is_not_hidden_by_a_noisy_one() -> None:
    """One network's mean is off, with a narrow interval; another scatters widely about zero."""
    where = {"kind": "linear", "batchnorm": "train"}
    off = changed("layer_means", "mean", shifted(0.5), architecture="resnet32", **where)
    noisy = changed("layer_means", "mean", scaled(100.0), architecture="resnet8", **where)
    for change, verdict, case in (
        (noisy, "inconclusive", "resnet8"),
        (both(noisy, off), "refuted", "resnet32"),
    ):
        found = row(change(EVIDENCE), "prop1-linear", AS_STATED)
        assert found["verdict"] == verdict
        assert f"worst: {case}," in found["measured_on"]


def test_many_true_cases_are_not_refuted_by_chance() -> None:
    """Unbiased means of eight networks, 200 times over: a plain 90 % CI would refute often."""
    generator = np.random.default_rng(1)
    refuted = 0
    for _ in range(200):
        table = EVIDENCE.layer_means
        table = table[(table["kind"] == "linear") & (table["seed"] < 20)]
        fresh = table.assign(mean=generator.normal(size=len(table)) * table["predicted_sd"])
        found = dataclasses.replace(EVIDENCE, layer_means=fresh)
        (linear,) = [claim for claim in CLAIMS if claim.id == "prop1-linear"]
        finding = linear.measure(found)
        refuted += finding.low > 0 or finding.high < 0
    assert refuted <= 0.16 * 200


def test_table_1_is_judged_protocol_by_protocol() -> None:
    found = row(EVIDENCE, "table1", AS_STATED)
    chi_square = 4 * 1.1**2
    p = 2 * min(stats.chi2(4).cdf(chi_square), stats.chi2(4).sf(chi_square))
    assert found["value"] == pytest.approx(p, rel=1e-6)
    assert "BatchNorm train" in found["measured_on"]
    assert "BatchNorm eval" in found["measured_on"]
    # too close to zero is as odd as too far
    for factor in (100.0, 0.01):
        far = changed("layer_means", "mean", scaled(factor), kind="linear")(EVIDENCE)
        found = row(far, "table1", AS_STATED)
        assert found["verdict"] == "refuted"
        assert 0 <= found["ci_high"] < 1e-3
