"""Claims that two students are the same to rounding, from made-up logits, weights and histories.

Each value is computed again here from the raw files, and each verdict is turned round by writing
other files for some students.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from kdlm.claims import gaps, pointwise
from kdlm.storage.parquet import read_table
from tests.claims.world_pointwise import (
    ADAM,
    ARMS,
    CENTRED,
    EIGHT,
    INF,
    LADDER,
    SGD,
    TEST,
    Array,
    Keys,
    Start,
    World,
    arm,
    judged,
    start,
)

STATED, CORRECTED, PRINTED = "as stated", "corrected", "printed"
BOTH = ("weights", "logits")
Student = tuple[Keys, dict[str, Array]]
"""Path keys, and the arrays in the files: weights and centred test logits."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("study"), ARMS)


# distances again, from the files


def read(folder: Path) -> dict[str, Array]:
    table = read_table(folder / "logits.parquet", "logits")
    logits = np.array([list(z) for z in table["logits"]])
    return {
        "weights": load_file(folder / "model.safetensors")["stem.weight"],
        "logits": logits - logits.mean(axis=1, keepdims=True),
    }


def distance(measure: str, one: dict[str, Array], other: dict[str, Array]) -> float:
    squares = (one[measure] - other[measure]) ** 2
    return math.sqrt(squares.sum() if measure == "weights" else squares.sum() / squares.size)


OBJECTIVE = ("loss", "temperature", "means", "mean_gap")
GROUP = ("teacher", "teacher_seed", "architecture", "initialisation", "recipe")


def alike(one: Keys, other: Keys, keys: tuple[str, ...]) -> bool:
    return all(one[key] == other[key] for key in keys)


def share(measure: str, one: Student, other: Student, everyone: list[Student]) -> float:
    """Distance over the mean, of the two students, of the mean distance between their seeds."""
    levels = []
    for keys, _ in (one, other):
        own = [
            arrays
            for each, arrays in everyone
            if alike(each, keys, GROUP + OBJECTIVE)
            and each["perturbation"] == each["relative_perturbation"] == 0
        ]
        between = [distance(measure, a, b) for a, b in itertools.combinations(own, 2)]
        levels.append(sum(between) / len(between))
    return distance(measure, one[1], other[1]) / (sum(levels) / 2)


def students(world: World) -> list[Student]:
    return [(network.keys, read(network.folder)) for network in world.chosen(role="student")]


def plain(keys: Keys) -> bool:
    return bool(keys["perturbation"] == keys["relative_perturbation"] == 0)


def limit(keys: Keys) -> bool:
    return bool(keys["loss"] == "kd" and keys["temperature"] == INF)


def gap(loss: str) -> Callable[[Keys, Keys], bool]:
    return lambda a, b: a["loss"] == loss and alike(a, b, ("loss", "temperature"))


def equal_means(means: str) -> Callable[[Keys, Keys], bool]:
    return lambda a, b: (
        limit(a) and b["loss"] == "lm" and b["means"] == means
        and a["mean_gap"] == b["mean_gap"] == 0
    )  # fmt: skip


def eight(form: str, means: str) -> Callable[[Keys, Keys], bool]:
    return lambda a, b: (
        limit(a) and b["loss"] == f"regularised-lm-{form}" and b["means"] == means
        and a["mean_gap"] == b["mean_gap"] == 5
    )  # fmt: skip


def highest(other: str) -> Callable[[Keys, Keys], bool]:
    return lambda a, b: (
        a["loss"] == "kd" and a["temperature"] == 1e8 and b["loss"] == other
        and a["mean_gap"] == b["mean_gap"] == 0
        and a["means"] == b["means"] == "trained-teacher"
    )  # fmt: skip


HE = {"initialisation": "he"}
TRAINED, UNTRAINED = {"means": "trained-teacher"}, {"means": "untrained-teacher"}
LM0 = {"loss": "lm", "mean_gap": 0.0}
# by claim: the pairs it is about, the distances it looks at, its verdict, and what turns it round:
# another distance from KD at T = inf for some students, in distances of two seeds
CASES: dict[tuple[str, str], tuple[Callable[[Keys, Keys], bool], Any, str, float, Keys]] = {
    ("gap-kd", STATED): (gap("kd"), BOTH, "supported", 0.3,
                         {"loss": "kd", "temperature": 4.0, "mean_gap": 5.0, "seed": 1}),
    ("gap-ce", STATED): (gap("ce"), BOTH, "supported", 0.2,
                         {"loss": "ce", "mean_gap": 5.0, "seed": 0}),
    ("gap-lm", STATED): (gap("lm"), BOTH, "refuted", 0.5, {"loss": "lm"} | HE),
    ("gap-centred", CORRECTED): (gap("centred-lm"), BOTH, "supported", 0.02,
                                 {"loss": "centred-lm", "mean_gap": 5.0, "seed": 1}),
    ("equal-means", STATED): (equal_means("trained-teacher"), ("logits",), "refuted", 1e-3,
                              LM0 | TRAINED | HE),
    ("equal-means-untrained", STATED): (equal_means("untrained-teacher"), ("logits",), "refuted",
                                        1e-3, LM0 | UNTRAINED),
    **{
        (f"eq8-{which}", form): (eight(form, means["means"]), ("logits",), "refuted", 0.05,
                                 {"loss": f"regularised-lm-{form}", "mean_gap": 5.0} | means)
        for which, means in (("trained", TRAINED), ("untrained", UNTRAINED))
        for form in (PRINTED, CORRECTED)
    },
    ("centred-classifier", CORRECTED): (
        lambda a, b: a["loss"] != b["loss"] and a["initialisation"] == "he-centred"
        and a["recipe"] == "sgd", BOTH, "supported", 0.02,
        {"loss": "lm", "initialisation": "he-centred", "recipe": "sgd", "seed": 1}),
    **{
        (f"equivalence-{measure}", form): case
        for measure in BOTH
        for form, case in (
            (STATED, (highest("lm"), (measure,), "refuted", 0.05, LM0 | TRAINED | HE)),
            (CORRECTED, (highest("centred-lm"), (measure,), "supported", 0.4,
                         {"loss": "kd", "temperature": 1e8, "seed": 1})),
        )
    },
}  # fmt: skip


def worst_share(world: World, claim: tuple[str, str]) -> float:
    """The statistic again, over all pairs of a seed and group."""
    belongs, measures, *_ = CASES[claim]
    everyone = students(world)
    found = [
        share(measure, one, other, everyone)
        for one, other in itertools.permutations(everyone, 2)
        if plain(one[0]) and plain(other[0]) and alike(one[0], other[0], (*GROUP, "seed"))
        if belongs(one[0], other[0])
        for measure in measures
    ]
    return max(found)


def test_every_claim_has_a_case() -> None:
    assert {(claim.id, claim.form) for claim in pointwise.CLAIMS} == set(CASES)
    assert {claim.id for claim in gaps.CLAIMS} == {
        "gap-dose", "natural-gap", "centred-classifier-adam"
    }  # fmt: skip


@pytest.mark.parametrize("claim", CASES, ids="-".join)
def test_the_worst_pair_decides_and_other_logits_turn_the_verdict_round(
    world: World, claim: tuple[str, str]
) -> None:
    _, _, verdict, multiple, where = CASES[claim]
    found = judged(world.untouched, *claim)
    assert found["value"] == pytest.approx(worst_share(world, claim), rel=1e-6)
    assert (found["verdict"], found["n"]) == (verdict, 2)
    # exact: no interval
    assert found["ci_low"] == found["ci_high"] == found["value"]
    assert found["measured_on"].isascii()
    with world.moved({"multiple": multiple}, relative_perturbation=0.0, **where) as evidence:
        turned = judged(evidence, *claim)
        assert turned["value"] == pytest.approx(worst_share(world, claim), rel=1e-6)
    assert {verdict, turned["verdict"]} == {"supported", "refuted"}


def rungs(world: World, measure: str, **group: Any) -> dict[float, float]:
    """Mean share of each rung of KD at T = inf, again from the files."""
    everyone = [one for one in students(world) if alike(one[0], one[0] | group, GROUP)]
    found: dict[float, float] = {}
    for size in LADDER:
        moved = [one for one in everyone if one[0]["relative_perturbation"] == size]
        shares = [
            share(measure, one, other, everyone)
            for one in moved
            for other in everyone
            if plain(other[0]) and alike(one[0], other[0], (*OBJECTIVE, "seed"))
        ]
        found[size] = sum(shares) / len(shares)
    return found


def test_the_size_of_a_distance_is_read_on_the_ladder(world: World) -> None:
    found = judged(world.untouched, "gap-lm", STATED)
    steps = {m: rungs(world, m, recipe="sgd", initialisation="he") for m in BOTH}
    # both measures are alike but for rounding, and so is what is read
    jitters = [np.interp(math.log(found["value"]), np.log([*step.values()]), np.log([*step]))
               for step in steps.values()]  # fmt: skip
    assert jitters[0] == pytest.approx(jitters[1], rel=1e-2)
    assert (
        f"as far apart as a relative jitter of {math.exp(jitters[0]):.1g} of the initial weights "
        "makes one and the same loss" in found["measured_on"]
    )


def test_on_the_plateau_a_distance_is_saturated(world: World) -> None:
    found = judged(world.untouched, "equal-means", STATED)
    step = rungs(world, "logits", recipe="sgd", initialisation="he")
    begins = min(size for size, share in step.items() if share >= max(step.values()) / 2)
    assert found["value"] > max(step.values()) / 2
    said = f"saturated: on the ladder's plateau, which begins at {begins:.1g}"
    assert said in found["measured_on"]


def test_below_the_ladder_a_distance_is_less_than_its_lowest_rung(world: World) -> None:
    said = judged(world.untouched, "gap-kd", STATED)["measured_on"]
    assert "nearer than a relative jitter of 1e-10 of the initial weights" in said


def test_refuted_is_the_exact_identity_and_the_effect_in_practice_is_said(world: World) -> None:
    said = judged(world.untouched, "equal-means", STATED)["measured_on"]
    assert "what is refuted is the exact identity" in said
    everyone, labels = students(world), np.arange(TEST) % 10
    predicted = [(keys, arrays["logits"].argmax(axis=1)) for keys, arrays in everyone]
    points, same, used = [], [], []
    for (a, first), (b, second) in itertools.permutations(predicted, 2):
        if (
            plain(a) and plain(b) and alike(a, b, (*GROUP, "seed")) and a["initialisation"] == "he"
            and equal_means("trained-teacher")(a, b)
        ):  # fmt: skip
            points.append(100 * ((first == labels).mean() - (second == labels).mean()))
            same.append((first == second).mean())
            used += [a, b]
    assert f"{np.mean(points):+.2f} points (from {min(points):+.2f} to {max(points):+.2f})" in said
    assert f"{1 - np.mean(same):.1%} of the test images are predicted otherwise" in said
    between = [
        (first != second).mean()
        for (a, first), (b, second) in itertools.combinations(predicted, 2)
        if a in used and b in used and alike(a, b, OBJECTIVE)
    ]
    assert f"(two seeds: {np.mean(between):.1%})" in said
    assert "in practice" not in judged(world.untouched, "gap-kd", STATED)["measured_on"]


def test_every_temperature_is_listed_with_its_jitter(world: World) -> None:
    evidence = world.untouched
    said = judged(evidence, "equivalence-logits", CORRECTED)["measured_on"]
    assert said.startswith("T = 100000000; the same from T = 1000000 (T/rms = ")
    assert "4 0.7 (saturated), 10000 0.5 (saturated), 1000000 0.03 (4e-07)" in said
    assert "100000000 1e-07 (1e-09), inf " in said
    assert "at no T" in judged(evidence, "equivalence-logits", STATED)["measured_on"]
    # the same at 4 and at 1e8, but not between: only from 1e8 on
    with world.moved({"multiple": 0.0}, loss="kd", temperature=4.0) as near:
        said = judged(near, "equivalence-logits", CORRECTED)["measured_on"]
        assert "the same from T = 1000000 " in said
    with world.moved({"multiple": 0.4}, loss="kd", temperature=1e6, seed=1) as far:
        said = judged(far, "equivalence-logits", CORRECTED)["measured_on"]
        assert "the same from T = 100000000 " in said


# what can be decided


PAIR = {
    "pair": arm(["kd", "lm"], [INF]),
    "gap": arm(["kd"], [INF], mean_gaps=[5]),
}


def test_without_a_ladder_nothing_is_decided(tmp_path: Path) -> None:
    evidence = World(tmp_path, PAIR).evidence()
    for claim in ("gap-kd", "equal-means"):
        found = judged(evidence, claim, STATED)
        assert found["verdict"] == "inconclusive"
        assert found["measured_on"].startswith("no ladder in this arm; ")


def test_the_control_of_one_ulp_decides_too_but_gives_no_size(tmp_path: Path) -> None:
    world = World(tmp_path, PAIR | {"control": arm(["kd"], [INF], perturbations=[1])})
    evidence = world.untouched
    assert judged(evidence, "gap-kd", STATED)["verdict"] == "supported"
    found = judged(evidence, "equal-means", STATED)
    assert found["verdict"] == "refuted"
    assert "no ladder to read a size from" in found["measured_on"]
    with world.moved({"multiple": 0.2}, perturbation=1, seed=1) as noisy:
        found = judged(noisy, "equal-means", STATED)
        assert found["verdict"] == "inconclusive"
        assert "one unit in the last place already reaches 0.2" in found["measured_on"]


@pytest.mark.parametrize(
    ("precision", "advice"),
    [("float32", "ask the pointwise question in float64"), ("float64", "smaller rungs")],
)
def test_a_rung_that_reaches_the_margin_leaves_it_open(
    tmp_path: Path, precision: str, advice: str
) -> None:
    """The same files in both precisions; at the lowest rung of each, .4 and .44."""
    steep = arm(["kd"], [INF], relative_perturbations=[1e-6, 1e-4])
    recipes = {"sgd": SGD | {"precision": precision}}
    world = World(tmp_path, PAIR | {"ladder": steep}, recipes)
    for claim in ("gap-kd", "equal-means"):
        found = judged(world.untouched, claim, STATED)
        assert found["verdict"] == "inconclusive"
        said = f"{precision}: a jitter of 1e-06 already reaches 0.42 of the distance between seeds"
        assert found["measured_on"].startswith(said)
        assert advice in found["measured_on"]
    with world.moved({"multiple": 1e-3}, relative_perturbation=1e-6) as calm:
        assert judged(calm, "equal-means", STATED)["verdict"] == "refuted"


@pytest.mark.parametrize("measure", BOTH)
def test_of_two_measures_the_noisier_at_the_lowest_rung_leaves_it_open(
    world: World, measure: str
) -> None:
    """The ladder of one measure alone begins beyond the margin."""
    table = world.untouched.comparisons.copy()
    moved = table[["relative_perturbation_a", "relative_perturbation_b"]].max(axis=1)
    lowest = (table["kind"] == "rung") & (moved == min(LADDER))
    table.loc[lowest, f"{measure}_share"] = 0.3
    noisy = dataclasses.replace(world.untouched, comparisons=table)
    found = judged(noisy, "gap-kd", STATED)
    assert found["verdict"] == "inconclusive"
    assert found["measured_on"].startswith("float64: a jitter of 1e-10 already reaches 0.3 ")
    # of logits alone, weights say nothing
    of_logits = judged(noisy, "equal-means", STATED)["verdict"]
    assert of_logits == ("inconclusive" if measure == "logits" else "refuted")


def test_a_margin_above_the_plateau_supports_nothing(tmp_path: Path) -> None:
    """A plateau at .03, and a student at .05, where the margin is .1."""
    arms = {
        "pair": arm(["kd", "lm"], [1e8, INF]),
        "ladder": arm(["kd"], [INF], relative_perturbations=[1e-10, 1e-6, 1e-4]),
    }
    world = World(tmp_path, arms)
    with (
        world.moved({"multiple": 0.03}, relative_perturbation=[1e-6, 1e-4]),
        world.moved({"multiple": 0.05}, loss="lm") as evidence,
    ):
        found = judged(evidence, "equivalence-weights", STATED)
        assert found["value"] == pytest.approx(0.05, rel=1e-3)
        assert found["verdict"] == "inconclusive"
        assert "on the ladder's plateau, which begins at 1e-06 with 0.015" in found["measured_on"]
        assert "weights cannot tell" in found["measured_on"]
        assert "the same at no T; " in found["measured_on"]
        # beyond the margin it is refuted all the same
        assert judged(evidence, "equal-means", STATED)["verdict"] == "refuted"
        with world.moved({"multiple": 1e-6}, loss="lm") as near:
            assert judged(near, "equivalence-weights", STATED)["verdict"] == "supported"


def test_one_seed_decides_nothing(tmp_path: Path) -> None:
    alone = {"pair": arm(["kd", "lm"], [INF], seeds=[0]),
             "ladder": arm(["kd"], [INF], relative_perturbations=[*LADDER], seeds=[0])}  # fmt: skip
    found = judged(World(tmp_path, alone).evidence(), "equal-means", STATED)
    assert found["verdict"] == "inconclusive"
    assert found["measured_on"].startswith("not measured: one seed only")


def test_a_lost_student_leaves_it_open_but_a_counterexample_is_final(world: World) -> None:
    lost = {"loss": "kd", "temperature": INF, "mean_gap": 5.0, "seed": 0} | TRAINED
    with world.without(**lost) as evidence:
        found = judged(evidence, "gap-kd", STATED)
        assert found["verdict"] == "inconclusive"
        assert found["measured_on"].startswith("not measured: ")
        assert "logits.parquet" in found["measured_on"]
        # LM does without that student
        assert judged(evidence, "gap-lm", STATED)["verdict"] == "refuted"
        with world.moved(
            {"multiple": 0.3}, loss="kd", temperature=4.0, mean_gap=5.0, seed=1
        ) as apart:
            found = judged(apart, "gap-kd", STATED)
    assert found["verdict"] == "refuted"
    assert "left out" in found["measured_on"]


def test_a_lost_rung_leaves_no_ladder(world: World) -> None:
    with world.without(relative_perturbation=1e-8, seed=1, **HE) as evidence:
        found = judged(evidence, "gap-kd", STATED)
        assert found["verdict"] == "inconclusive"
        assert found["measured_on"].startswith("no ladder: ")
        assert "logits.parquet" in found["measured_on"]
        # the centred students have their own
        assert judged(evidence, "centred-classifier", CORRECTED)["verdict"] == "supported"


def test_the_worst_recipe_decides_and_some_recipes_do_not_count(tmp_path: Path) -> None:
    recipes = {
        "other": SGD | {"learning_rate": 0.01},
        "mixed": SGD | {"ce_weight": 0.1},
        "coupled": ADAM,
    }
    students = {
        f"{kind} {recipe}": arm(["kd"], [INF], recipe=recipe, **changes)
        for recipe in ("sgd", *recipes)
        for kind, changes in (("gap", {"mean_gaps": [0, 5]}),
                              ("ladder", {"relative_perturbations": [1e-10, 1e-4]}))
    }  # fmt: skip
    world = World(tmp_path, students, recipes)
    for recipe, verdict in (
        ("mixed", "supported"),
        ("coupled", "supported"),
        ("other", "refuted"),
        ("sgd", "refuted"),
    ):
        with world.moved({"multiple": 0.3}, recipe=recipe, mean_gap=5.0, seed=1) as evidence:
            found = judged(evidence, "gap-kd", STATED)
            assert found["verdict"] == verdict, recipe
            if verdict == "refuted":
                assert f", he, {recipe}; " in found["measured_on"]


def test_under_sgd_alone_the_centred_classifier_is_judged(world: World) -> None:
    with world.moved({"multiple": 0.4}, recipe="adam", loss="lm") as evidence:
        assert judged(evidence, "centred-classifier", CORRECTED)["verdict"] == "supported"


def test_kd_at_a_finite_temperature_is_no_member_of_the_centred_family(tmp_path: Path) -> None:
    arms = {
        "family": arm(["kd", "lm"], [4, INF], **CENTRED),
        "ladder": arm(["kd"], [INF], **CENTRED, relative_perturbations=[*LADDER]),
    }
    world = World(tmp_path, arms)
    with world.moved({"multiple": 0.4}, loss="kd", temperature=4.0) as evidence:
        found = judged(evidence, "centred-classifier", CORRECTED)
        assert (found["verdict"], found["n"]) == ("supported", 2)
    with world.moved({"multiple": 0.4}, loss="lm") as evidence:
        assert judged(evidence, "centred-classifier", CORRECTED)["verdict"] == "refuted"


def test_the_constants_of_8_can_be_those_that_nature_gives(tmp_path: Path) -> None:
    arms = {
        "natural": arm(["kd", *EIGHT], [INF], means=["natural"]),
        "no gap": arm(["kd", *EIGHT], [INF]),
        "ladder": ARMS["ladder"],
    }
    world = World(tmp_path, arms)
    found = judged(world.untouched, "eq8-trained", PRINTED)
    assert found["verdict"] == "refuted"
    assert "no gap imposed" in found["measured_on"]
    # without a gap the term of (8) vanishes: such students do not count
    with world.moved({"multiple": 0.0}, means="natural") as evidence:
        assert judged(evidence, "eq8-trained", PRINTED)["verdict"] == "supported"
    with world.without(means="natural", loss=EIGHT[0]) as evidence:
        found = judged(evidence, "eq8-trained", PRINTED)
        assert found["measured_on"].startswith("not measured: ")


# gaps of mean logits


def energy(begun: Start) -> float:
    pairs = zip(begun.student, begun.teacher, strict=True)
    gaps = [float(np.mean(z) - np.mean(t)) for z, t in pairs]
    return sum(g * g for g in gaps) / len(gaps) / 2


def test_a_gap_adds_half_its_square_and_a_wider_spread_of_the_gaps_refutes_it(
    world: World,
) -> None:
    evidence = world.untouched
    found = judged(evidence, "gap-dose", CORRECTED)
    assert (found["verdict"], found["n"]) == ("supported", 2)
    assert found["value"] < 1e-12
    network = world.chosen(loss="lm", mean_gap=0.5, seed=1)[0]
    begun = start(network.keys)
    spread = np.linspace(-0.3, 0.3, len(begun.student))[:, None]
    wider = Start(begun.student + spread, begun.teacher)
    with world.moved({"begun": wider}, loss="lm", mean_gap=0.5, seed=1) as changed:
        turned = judged(changed, "gap-dose", CORRECTED)
    none = start(network.keys | {"mean_gap": 0.0})
    expected = abs(energy(wider) - 0.5**2 / 2 - energy(none)) / energy(wider)
    assert turned["value"] == pytest.approx(expected, rel=1e-9)
    assert turned["verdict"] == "refuted"
    assert "seed 1, gap 0.5" in turned["measured_on"]


def test_doses_are_compared_with_the_smallest_gap_and_too_little_is_a_deviation_too(
    world: World,
) -> None:
    """The gaps of the smallest dose spread most, so every larger one adds less than expected."""
    where = {"loss": "lm", "mean_gap": 0.0, "seed": 1} | HE | TRAINED
    keys = world.chosen(**where)[0].keys
    begun = start(keys)
    spread = np.linspace(-0.3, 0.3, len(begun.student))[:, None]
    wider = Start(begun.student + spread, begun.teacher)
    more = {gap: energy(start(keys | {"mean_gap": gap})) for gap in (0.5, 5.0)}
    expected = max(abs(e - gap**2 / 2 - energy(wider)) / e for gap, e in more.items())
    with world.moved({"begun": wider}, **where) as changed:
        turned = judged(changed, "gap-dose", CORRECTED)
    assert turned["value"] == pytest.approx(expected, rel=1e-9)
    assert turned["verdict"] == "refuted"
    assert "seed 1, gap 0.5" in turned["measured_on"]


def test_dose_and_response_are_listed(world: World) -> None:
    said = judged(world.untouched, "gap-dose", CORRECTED)["measured_on"]
    doses = {g: np.mean([energy(start({"mean_gap": g, "seed": seed, "means": "trained-teacher",
                                       "initialisation": "he"})) for seed in (0, 1)])
             for g in (0.0, 0.5, 5.0)}  # fmt: skip
    listed = ", ".join(f"{g:g} {value:.3g}" for g, value in doses.items())
    assert f"mean energy at the start by gap: {listed}; " in said
    # LM is half a distance of two seeds from KD, and a twentieth more for each logit of the gap
    assert "by gap: 0 0.51 (saturated), 0.5 0.54 (saturated), 5 0.76 (saturated); " in said


def test_the_response_is_the_distance_to_kd_at_infinity_alone(world: World) -> None:
    """Students of LM beside KD at infinity, and so far from KD at lower temperatures."""
    where = {"loss": "lm", "mean_gap": 0.0} | HE | TRAINED
    with world.moved({"multiple": 0.0}, **where) as evidence:
        said = judged(evidence, "gap-dose", CORRECTED)["measured_on"]
    # KD's own gap counts, up to seven times the rounding
    assert "by gap: 0 7e-09 (0), 0.5 0.54 (saturated), " in said


def test_one_gap_is_no_dose(tmp_path: Path) -> None:
    found = judged(World(tmp_path, PAIR).evidence(), "gap-dose", CORRECTED)
    assert found["measured_on"] == "not measured: no student of LM at two mean gaps"


def natural_share(begun: Start) -> float:
    difference = begun.student - begun.teacher
    return abs(float(difference.mean())) / math.sqrt(float((difference**2).mean()))


def test_the_natural_gap_is_that_of_the_worst_seed(world: World) -> None:
    keys = [network.keys for network in world.chosen(means="natural")]
    found = judged(world.untouched, "natural-gap", STATED)
    shares = [natural_share(start(each)) for each in keys]
    assert found["value"] == pytest.approx(max(shares), rel=1e-9)
    assert (found["verdict"], found["n"]) == ("refuted", 2)
    assert "+0.3 logits on average (from +0.2 to +0.4)" in found["measured_on"]
    # seed 0 alone, with a smaller gap: then seed 1 is the worst, and none is beyond the margin
    near = start(keys[0], natural=0.05)
    with world.moved({"begun": near}, means="natural") as evidence:
        turned = judged(evidence, "natural-gap", STATED)
        assert turned["value"] == pytest.approx(natural_share(near), rel=1e-9)
        assert turned["verdict"] == "supported"
    # whichever network's mean is the larger
    for natural in (1.5, -1.5):
        begun = start(keys[0], natural=natural)
        with world.moved({"begun": begun}, means="natural", seed=1) as evidence:
            turned = judged(evidence, "natural-gap", STATED)
            assert turned["value"] == pytest.approx(natural_share(begun), rel=1e-9)
            assert turned["verdict"] == "refuted"
            assert "seed 1" in turned["measured_on"]


def test_the_gap_to_the_teacher_before_its_training_is_said(world: World) -> None:
    said = judged(world.untouched, "natural-gap", STATED)["measured_on"]
    (teacher,) = [
        network.folder
        for network in world.networks
        if network.job.teacher is None and network.keys["initialisation"] == "he"
    ]
    history = read_table(teacher / "history.parquet", "history")
    before = history.loc[history["split"] == "initial", "mean_logit"].item()
    own = [float(start(network.keys).student.mean()) for network in world.chosen(means="natural")]
    gaps = sorted(mean - before for mean in own)
    assert f"before its training: from {gaps[0]:+.3g} to {gaps[-1]:+.3g}; " in said


def test_no_gap_at_all_is_no_share(world: World) -> None:
    begun = start(world.chosen(means="natural")[0].keys)
    same = Start(begun.teacher, begun.teacher)
    with world.moved({"begun": same}, means="natural") as evidence:
        found = judged(evidence, "natural-gap", STATED)
        assert (found["value"], found["verdict"]) == (0.0, "supported")


def test_a_lost_student_without_an_imposed_gap_leaves_it_open(world: World) -> None:
    near = {"begun": start(world.chosen(means="natural")[0].keys, natural=0.01)}
    with world.moved(near, means="natural"):
        with world.without(means="natural", seed=1) as evidence:
            found = judged(evidence, "natural-gap", STATED)
        assert found["verdict"] == "inconclusive"
        assert found["measured_on"].startswith("not measured: ")


@pytest.mark.parametrize("drift", [0.009, 0.011])
def test_zero_means_persist_under_adam_or_not(world: World, drift: float) -> None:
    assert judged(world.untouched, "centred-classifier-adam", CORRECTED)["value"] == 0.2
    with world.moved({"drift": 1e-6}, recipe="adam"):
        (network,) = world.chosen(recipe="adam", loss="lm", seed=1)
        world.write(network, drift=drift)
        found = judged(world.evidence(), "centred-classifier-adam", CORRECTED)
    history_rms = drift * 4.0
    assert found["value"] == pytest.approx(history_rms / 4.0)
    assert found["verdict"] == ("supported" if drift < 0.01 else "refuted")
    assert "LM, resnet8, adam, seed 1, epoch 1" in found["measured_on"]


def test_means_that_were_not_zero_at_the_start_are_not_said_to_move(world: World) -> None:
    begun = start({"initialisation": "he-centred", "seed": 0, "mean_gap": 0.0, "means": ""})
    shifted = Start(begun.student + 2.0, begun.teacher)
    with world.moved({"begun": shifted, "drift": 0.5}, recipe="adam", loss="lm") as evidence:
        found = judged(evidence, "centred-classifier-adam", CORRECTED)
        assert found["value"] == 0.2
    with world.moved({"begun": shifted}, recipe="adam") as evidence:
        found = judged(evidence, "centred-classifier-adam", CORRECTED)
        assert found["measured_on"].startswith("not measured: no student with zero means")


def test_sgd_says_nothing_about_adam(tmp_path: Path) -> None:
    world = World(tmp_path, {"centred": arm(["kd", "lm"], [INF], **CENTRED)})
    found = judged(world.untouched, "centred-classifier-adam", CORRECTED)
    assert found["measured_on"].startswith("not measured: ")
