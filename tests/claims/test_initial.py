"""Claims about initialisation, on the made-up study and on shards of made-up means."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdlm import published
from kdlm.claims import CLAIMS
from kdlm.study.config import Study, parse
from tests.claims import raw
from tests.claims.world import AS_STATED, EVIDENCE, both, changed, row, scaled, shifted, standard


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


def test_layers_are_averaged_in_each_seed() -> None:
    """A second convolution with the opposite outputs: no seed is left with a mean."""
    table = EVIDENCE.layer_means
    first = table[table["kind"] == "convolution"]
    second = first.assign(layer="second", depth=9, mean=-first["mean"])
    both_layers = pd.concat([table, second], ignore_index=True)
    found = row(dataclasses.replace(EVIDENCE, layer_means=both_layers), "prop1-conv", AS_STATED)
    assert (found["value"], found["ci_low"], found["ci_high"]) == pytest.approx((0, 0, 0))
    assert found["n"] == row(EVIDENCE, "prop1-conv", AS_STATED)["n"]


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


PROTOCOLS = [(i, b) for i in ("he", "xavier", "default") for b in ("train", "eval")]
FITS = ("default", "eval")
COUNT = 30


@pytest.fixture
def every_protocol(tiny: dict[str, Any]) -> Study:
    means = tiny["init_means"] | {
        "architectures": list(published.MEANS),
        "initialisations": ["he", "xavier", "default", "he-centred"],
        "seeds": COUNT,
        "shard_size": 20,
    }
    return parse(tiny | {"init_means": means, "margins": {}})


def means_of(errors: dict[str, float]) -> Callable[[str, str, str, str, int], float]:
    """Raw means with sds that put the published values so many standard errors out.

    They do so under one protocol; under the others the sds are a hundredth of that.
    """
    values = standard(COUNT)

    def mean(architecture: str, initialisation: str, mode: str, _: str, seed: int) -> float:
        if initialisation == "he-centred":
            return 0.0
        sd = abs(published.MEANS[architecture]) * math.sqrt(published.SEEDS) / errors[architecture]
        return float(values[seed] * sd * (1 if (initialisation, mode) == FITS else 0.01))

    return mean


PLAUSIBLE = {"resnet8": 0.5, "resnet20": 1.6, "resnet32": 1.5, "resnet44": 1.0}


def read_errors(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Standard errors of the published means by protocol and network, from the shards."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for protocol in PROTOCOLS:
        for network, value in published.MEANS.items():
            part = folder.glob(
                f"init_means/architecture={network}/initialisation={protocol[0]}"
                f"/batchnorm={protocol[1]}/*/means.parquet"
            )
            means = [m for path in part for m in raw.column(path, "mean", kind="linear")]
            assert len(means) == COUNT
            errors = value * math.sqrt(6000) / np.std(means, ddof=1)
            found.setdefault(protocol, {})[network] = float(errors)
    return found


def two_sided(errors: Iterable[float]) -> float:
    values = list(errors)
    square = sum(value**2 for value in values)
    return float(2 * min(stats.chi2.cdf(square, len(values)), stats.chi2.sf(square, len(values))))


@pytest.mark.parametrize(
    ("claim", "errors", "verdict"),
    [
        ("table1", PLAUSIBLE, "supported"),
        ("table1", PLAUSIBLE | {"resnet44": 220}, "refuted"),
        ("table1", dict.fromkeys(PLAUSIBLE, 0.05), "refuted"),
        ("table1-without-resnet44", PLAUSIBLE | {"resnet44": 220}, "supported"),
        ("table1-without-resnet44", PLAUSIBLE | {"resnet20": 9}, "refuted"),
        ("table1-without-resnet44", dict.fromkeys(PLAUSIBLE, 0.05), "refuted"),
        ("table1-resnet44", PLAUSIBLE | {"resnet44": 220}, "refuted"),
        ("table1-resnet44", PLAUSIBLE | {"resnet44": 2.0}, "supported"),
    ],
)
def test_raw_means_decide_what_is_plausible(
    every_protocol: Study, tmp_path: Path, claim: str, errors: dict[str, float], verdict: str
) -> None:
    raw.write_means(every_protocol, tmp_path, means_of(errors))
    found = raw.judged(raw.gathered_means(every_protocol, tmp_path), claim)
    assert found["verdict"] == verdict
    assert found["n"] == COUNT
    # the means of centred networks are 0, whoever measures them
    assert "he-centred" not in found["measured_on"]
    measured = read_errors(tmp_path)
    others = {
        protocol: two_sided(value for network, value in by.items() if network != "resnet44")
        for protocol, by in measured.items()
    }
    best = max(others, key=lambda protocol: others[protocol])
    expected = {
        "table1": max(two_sided(by.values()) for by in measured.values()),
        "table1-without-resnet44": others[best],
        "table1-resnet44": abs(measured[best]["resnet44"]),
    }
    assert found["value"] == pytest.approx(expected[claim], rel=1e-6, abs=1e-300)
    if claim != "table1-resnet44":
        for initialisation, mode in PROTOCOLS:
            assert f"{initialisation}, BatchNorm {mode}" in found["measured_on"]


def test_the_inference_about_resnet44_says_what_it_rests_on(
    every_protocol: Study, tmp_path: Path
) -> None:
    raw.write_means(every_protocol, tmp_path, means_of(PLAUSIBLE | {"resnet44": 220}))
    evidence = raw.gathered_means(every_protocol, tmp_path)
    found = raw.judged(evidence, "table1-resnet44")
    # 24 looks at level .05, two-sided
    assert found["margin_high"] == pytest.approx(stats.norm.ppf(1 - 0.05 / 24 / 2))
    said = found["measured_on"]
    for part in ("inferred", "default, BatchNorm eval", "2.2 if the exponent were -4", "24 net"):
        assert part in said
    p = {
        left: max(
            two_sided(value for network, value in by.items() if network != left)
            for by in read_errors(tmp_path).values()
        )
        for left in published.MEANS
    }
    said = raw.judged(evidence, "table1-without-resnet44")["measured_on"]
    for left in ("resnet8", "resnet20", "resnet32"):
        assert f"{left} {p[left]:.1e}" in said


def test_the_interval_of_a_distance_holds_the_truth_as_often_as_it_says(
    every_protocol: Study, tmp_path: Path
) -> None:
    """The interval of ResNet-44's distance against the exact one, from chi-square of the sd."""
    raw.write_means(every_protocol, tmp_path, means_of(PLAUSIBLE))
    found = raw.judged(raw.gathered_means(every_protocol, tmp_path), "table1-resnet44")
    tail = 0.1 / 24 / 2
    low, high = np.sqrt(stats.chi2(COUNT - 1).ppf([tail, 1 - tail]) / (COUNT - 1)) * found["value"]
    assert found["ci_low"] == pytest.approx(low, rel=0.25)
    assert found["ci_high"] == pytest.approx(high, rel=0.25)


FEW = 12


def with_layers_of(study: Study, layer_seeds: int) -> Study:
    """The study with every layer recorded for so many seeds."""
    made = study.model_dump()
    made["init_means"]["layer_seeds"] = layer_seeds
    return parse(made)


def means_about_zero(_a: str, _i: str, _b: str, _kind: str, seed: int) -> float:
    return float(standard(COUNT)[seed] * 0.01)


@pytest.mark.parametrize(
    ("claim", "kind", "n"),
    [("prop1-linear", "linear", COUNT), ("prop1-conv", "convolution", FEW)],
)
def test_each_claim_has_the_seeds_that_recorded_its_layers(
    every_protocol: Study, tmp_path: Path, claim: str, kind: str, n: int
) -> None:
    made = with_layers_of(every_protocol, FEW)
    raw.write_means(made, tmp_path, means_about_zero)
    evidence = raw.gathered_means(made, tmp_path)
    found = raw.judged(evidence, claim)
    assert found["n"] == n
    values = standard(COUNT)[:n] * 0.01
    assert found["value"] == pytest.approx(values.mean(), abs=1e-12)
    half = stats.t.ppf(1 - 0.1 / 32 / 2, n - 1) * values.std(ddof=1) / math.sqrt(n)
    assert found["ci_high"] - found["value"] == pytest.approx(half)
    summary = evidence.init_means
    assert set(summary.loc[summary["kind"] == kind, "seeds"]) == {n}


@pytest.mark.parametrize(("layer_seeds", "said"), [(0, "no such layer"), (1, "one seed only")])
def test_without_layers_proposition_1_is_judged_on_the_logits_alone(
    every_protocol: Study, tmp_path: Path, layer_seeds: int, said: str
) -> None:
    made = with_layers_of(every_protocol, layer_seeds)
    raw.write_means(made, tmp_path, means_about_zero)
    evidence = raw.gathered_means(made, tmp_path)
    found = raw.judged(evidence, "prop1-conv")
    assert found["verdict"] == "inconclusive"
    assert found["measured_on"].startswith(f"not measured: {said}")
    assert raw.judged(evidence, "prop1-linear")["n"] == COUNT
    assert raw.judged(evidence, "table1")["n"] == COUNT


@pytest.mark.parametrize(
    ("claim", "kind"), [("prop1-linear", "linear"), ("prop1-conv", "convolution")]
)
@pytest.mark.parametrize(("off", "verdict"), [(0.0, "supported"), (3.0, "refuted")])
def test_raw_means_decide_proposition_1(
    every_protocol: Study, tmp_path: Path, claim: str, kind: str, off: float, verdict: str
) -> None:
    """One network of one protocol is off by so many of its sd; the margins are the defaults."""
    values = standard(COUNT) * {"linear": 0.5, "convolution": 0.05}[kind]

    def mean(architecture: str, initialisation: str, mode: str, layer: str, seed: int) -> float:
        case = (architecture, initialisation, mode, layer)
        moved = off if case == ("resnet20", "xavier", "eval", kind) else 0.0
        return float(values[seed] + moved * values.std(ddof=1))

    raw.write_means(every_protocol, tmp_path, mean)
    found = raw.judged(raw.gathered_means(every_protocol, tmp_path), claim)
    assert found["verdict"] == verdict
    # 4 networks, 4 initialisations, 2 modes
    half = stats.t.ppf(1 - 0.1 / 32 / 2, COUNT - 1) * values.std(ddof=1) / math.sqrt(COUNT)
    assert found["value"] == pytest.approx(off * values.std(ddof=1), abs=1e-12)
    assert found["ci_high"] == pytest.approx(found["value"] + half)
