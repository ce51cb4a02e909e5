"""Pairs of students and their distances, against loops over fake students."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from safetensors.numpy import load_file, save

from kdlm.errors import InputError
from kdlm.storage.files import OPEN_SEAL, sealed
from kdlm.storage.parquet import read_table, write_table
from kdlm.study.schemas import SCHEMAS, STUDENT_KEYS
from kdlm.tables import comparisons
from kdlm.tables.comparisons import compare, load_outcome

Student = tuple[dict[str, Any], Path]

CLASSES, FEATURES, IMAGES = 4, 3, 7
RMS = {("resnet20-he-long", 0): 2.0, ("resnet20-xavier-long", 1): 5.0}
GROUP = ["teacher", "teacher_seed", "architecture", "initialisation", "recipe"]
SIDE = [
    "loss", "temperature", "means", "mean_gap", "perturbation", "relative_perturbation", "seed",
]  # fmt: skip
OBJECTIVE = ["loss", "temperature", "means", "mean_gap"]
INF = math.inf


def save_weights(state: dict[str, npt.NDArray[Any]], path: Path) -> None:
    path.write_bytes(sealed(save(state, {"sha256": OPEN_SEAL})))


def keys(loss: str, temperature: float, gap: float, ulps: int, seed: int, **others: Any) -> Any:
    return {
        "teacher": "resnet20-he-long",
        "teacher_seed": 0,
        "architecture": "resnet8",
        "initialisation": "he",
        "recipe": "short",
        "loss": loss,
        "temperature": temperature,
        "means": "trained-teacher",
        "mean_gap": gap,
        "perturbation": ulps,
        "relative_perturbation": 0.0,
        "seed": seed,
    } | others


def write(folder: Path, generator: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    state = {
        "stem.weight": generator.normal(size=(2, 2)),
        "bn.running_mean": generator.normal(size=5),
        "bn.running_var": generator.normal(size=5),
        "classifier.weight": generator.normal(size=(CLASSES, FEATURES)),
        "classifier.bias": generator.normal(size=CLASSES),
    }
    state = {name: value.astype(np.float32) for name, value in state.items()}
    counts = {"bn.num_batches_tracked": np.array(generator.integers(100))}
    save_weights(state | counts, folder / "model.safetensors")
    write_logits(folder, generator.normal(size=(IMAGES, CLASSES)).astype(np.float32))


def write_logits(folder: Path, logits: npt.NDArray[np.floating[Any]]) -> None:
    rows = [
        {"split": "test", "index": i, "label": i % CLASSES, "logits": z.tolist()}
        for i, z in enumerate(logits)
    ]
    write_table("logits", rows, folder / "logits.parquet")


STUDENTS = [
    keys(loss, temperature, gap, 0, seed)
    for seed in (0, 1, 2)
    for loss, temperature, gap in [
        ("ce", 1.0, 0.0),
        ("kd", 4.0, 0.0),
        ("kd", 4.0, 5.0),
        ("kd", INF, 0.0),
        ("lm", INF, 0.0),
        ("centred-lm", INF, 0.0),
    ]
] + [
    keys("kd", 4.0, 0.0, 1, 0),
    keys("lm", INF, 0.0, 1, 1),
    keys("lm", INF, 0.0, 2, 1),
    *(keys("lm", INF, 0.0, 0, seed, means="natural") for seed in (0, 1)),
    # a ladder of KD at T = inf, and one of LM, which is not the one that counts
    *(keys("kd", INF, 0.0, 0, seed, relative_perturbation=e)
      for e in (1e-8, 1e-4, 1e-2) for seed in (0, 1, 2)),
    *(keys("lm", INF, 0.0, 0, seed, relative_perturbation=1e-6) for seed in (0, 1)),
    # other groups: no pair with any of the above, none either for the lonely one
    *(keys("kd", 4.0, 0.0, 0, seed, recipe="long") for seed in (0, 1)),
    *(keys("lm", INF, 0.0, 0, seed, initialisation="xavier") for seed in (0, 1)),
    keys("lm", INF, 0.0, 0, 0, teacher="resnet20-xavier-long", teacher_seed=1),
    keys("kd", 8.0, 0.0, 0, 0, teacher="resnet20-xavier-long", teacher_seed=1),
    keys("kd", 4.0, 0.0, 0, 0, architecture="resnet14"),
]  # fmt: skip


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> list[Student]:
    root, generator = tmp_path_factory.mktemp("students"), np.random.default_rng(0)
    found = [(entry, root / str(number)) for number, entry in enumerate(STUDENTS)]
    for _, folder in found:
        write(folder, generator)
    # the order that folders are found in decides nothing
    generator.shuffle(found)
    return found


@pytest.fixture(scope="module")
def table(students: list[Student]) -> pd.DataFrame:
    return compare(students, RMS)


def kind_of(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The definition in the table's schema, case by case."""
    if any(one[key] != other[key] for key in GROUP):
        return None
    objective = all(one[key] == other[key] for key in OBJECTIVE)
    ulps = sorted([one["perturbation"], other["perturbation"]])
    jitters = sorted([one["relative_perturbation"], other["relative_perturbation"]])
    if objective and one["seed"] == other["seed"]:
        if ulps == [0, 0] and jitters[0] == 0 < jitters[1]:
            return "rung"
        return "floor" if jitters == [0, 0] and ulps[0] == 0 < ulps[1] else None
    if ulps != [0, 0] or jitters != [0, 0]:
        return None
    if objective:
        return "seed"
    return "objective" if one["seed"] == other["seed"] else None


def identity(row: Any) -> tuple[str, tuple[Any, ...], frozenset[tuple[Any, ...]]]:
    side_a, side_b = (tuple(row[f"{key}_{side}"] for key in SIDE) for side in "ab")
    return row["kind"], tuple(row[key] for key in GROUP), frozenset({side_a, side_b})


def folders(row: Any, students: list[Student]) -> tuple[Path, Path]:
    found = {tuple(entry[key] for key in GROUP + SIDE): folder for entry, folder in students}
    group = [row[key] for key in GROUP]
    a, b = (found[(*group, *(row[f"{key}_{side}"] for key in SIDE))] for side in "ab")
    return a, b


def naive_weights(a: Path, b: Path) -> float:
    one, other = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    total = 0.0
    for name in ("stem.weight", "classifier.weight", "classifier.bias"):
        difference = one[name].astype(np.float64) - other[name].astype(np.float64)
        if name == "classifier.weight":
            for feature in range(FEATURES):
                column = [difference[k, feature] for k in range(CLASSES)]
                difference[:, feature] = [x - math.fsum(column) / CLASSES for x in column]
        if name == "classifier.bias":
            difference = difference - math.fsum(difference) / CLASSES
        total += sum(float(x) ** 2 for x in difference.flat)
    return math.sqrt(total)


def naive_logits(a: Path, b: Path) -> dict[str, float]:
    one, other = (read_table(folder / "logits.parquet", "logits") for folder in (a, b))
    squares: list[float] = []
    same, right = 0, [0, 0]
    for first, second, label in zip(one["logits"], other["logits"], one["label"], strict=True):
        z, y = [float(x) for x in first], [float(x) for x in second]
        centres = math.fsum(z) / CLASSES, math.fsum(y) / CLASSES
        squares += [(z[k] - centres[0] - y[k] + centres[1]) ** 2 for k in range(CLASSES)]
        guesses = z.index(max(z)), y.index(max(y))
        same += guesses[0] == guesses[1]
        right = [n + (guess == label) for n, guess in zip(right, guesses, strict=True)]
    return {
        "logits_distance": math.sqrt(math.fsum(squares) / len(squares)),
        "agreement": same / IMAGES,
        "accuracy_difference": (right[0] - right[1]) / IMAGES,
    }


def test_every_pair_that_differs_in_one_respect_once(table: pd.DataFrame) -> None:
    found = [identity(row) for _, row in table.iterrows()]
    expected = {
        (
            kind,
            tuple(one[key] for key in GROUP),
            frozenset({tuple(one[key] for key in SIDE), tuple(other[key] for key in SIDE)}),
        )
        for one, other in itertools.combinations(STUDENTS, 2)
        if (kind := kind_of(one, other))
    }
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert {kind for kind, _, _ in found} == {"objective", "floor", "rung", "seed"}


def test_distances_are_those_of_the_loops(table: pd.DataFrame, students: list[Student]) -> None:
    for _, row in table.iterrows():
        a, b = folders(row, students)
        assert row["weights_distance"] == pytest.approx(naive_weights(a, b), rel=1e-12)
        for column, value in naive_logits(a, b).items():
            assert row[column] == pytest.approx(value, rel=1e-12, abs=1e-15), column


def test_shares_are_of_the_mean_distance_between_seeds(table: pd.DataFrame) -> None:
    for _, row in table.iterrows():
        for measure in ("weights", "logits"):
            levels = []
            for side in "ab":
                between = [
                    other[f"{measure}_distance"]
                    for _, other in table.iterrows()
                    if other["kind"] == "seed"
                    and all(other[key] == row[key] for key in GROUP)
                    and all(other[f"{key}_a"] == row[f"{key}_{side}"] for key in OBJECTIVE)
                ]
                levels.append(sum(between) / len(between) if between else math.nan)
            expected = row[f"{measure}_distance"] / (sum(levels) / 2)
            assert row[f"{measure}_share"] == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("measure", ["weights", "logits"])
def test_a_share_is_read_on_the_ladder_of_its_group(table: pd.DataFrame, measure: str) -> None:
    rungs = table[(table["kind"] == "rung") & (table["loss_a"] == "kd")]
    ladder = []
    for size in (1e-8, 1e-4, 1e-2):
        shares = rungs[rungs["relative_perturbation_b"] == size][f"{measure}_share"]
        assert len(shares) == 3
        ladder.append((size, sum(shares) / 3))
    with_it = (table["teacher"] == "resnet20-he-long") & (table["recipe"] == "short")
    with_it &= (table["architecture"] == "resnet8") & (table["initialisation"] == "he")
    assert table.loc[~with_it, f"{measure}_jitter"].isna().all()
    # students of random logits are as far apart as two seeds, whatever the jitter: all saturated
    for _, row in table[with_it].iterrows():
        assert row[f"{measure}_share"] >= max(share for _, share in ladder) / 2
        assert row[f"{measure}_jitter"] == INF


def near(folder: Path, base: int, shift: float) -> None:
    """A student whose logits are those of number ``base``, all moved by ``shift``."""
    write(folder, np.random.default_rng(base))
    moved = np.random.default_rng(base).normal(size=(IMAGES, CLASSES))
    direction = np.tile([1.0, -1.0, 1.0, -1.0], (IMAGES, 1))
    write_logits(folder, moved + shift * direction)


def test_a_distance_of_known_size_is_found_between_the_rungs(tmp_path: Path) -> None:
    """Logits whose distances are known: rungs at 1e-6, 1e-3, .5 and .5; LM is at 1e-4."""
    rungs = {1e-10: 1e-6, 1e-8: 1e-3, 1e-6: 0.5, 1e-4: 0.5}
    members = []
    for seed in (0, 1):
        for loss, shift, e in (("kd", 0.0, 0.0), ("lm", 1e-4, 0.0),
                               *(("kd", shift, e) for e, shift in rungs.items())):  # fmt: skip
            folder = tmp_path / f"{loss}{e}-{seed}"
            near(folder, seed, shift)
            members.append((keys(loss, INF, 0.0, 0, seed, relative_perturbation=e), folder))
    pairs = compare(members, RMS)
    (found,) = set(pairs.loc[pairs["kind"] == "objective", "logits_jitter"].round(20))
    # the shift is the distance: two thirds of the way, in logarithms, from 1e-6 to 1e-3
    assert found == pytest.approx(10 ** (-10 + 2 * 2 / 3), rel=1e-6)
    moved = pairs[pairs["kind"] == "rung"].groupby("relative_perturbation_b")["logits_jitter"]
    # of two seeds at the lowest rung one can be below their mean
    assert moved.max().to_dict() == pytest.approx({1e-10: 1e-10, 1e-8: 1e-8, 1e-6: INF, 1e-4: INF})
    assert set(pairs.loc[pairs["kind"] == "seed", "logits_jitter"]) == {INF}


def test_without_one_of_its_rungs_a_ladder_is_none(tmp_path: Path) -> None:
    members = []
    for seed in (0, 1):
        for e in (0.0, 1e-8, 1e-4):
            folder = tmp_path / f"{e}-{seed}"
            near(folder, seed, e)
            members.append((keys("kd", INF, 0.0, 0, seed, relative_perturbation=e), folder))
    assert compare(members, RMS)["logits_jitter"].notna().all()
    pairs = compare(members, RMS, {tmp_path / "0.0001-1": ("missing", "it is lost")})
    assert pairs["logits_jitter"].isna().all()


def test_a_lone_seed_has_no_share(table: pd.DataFrame) -> None:
    lonely = table[table["teacher"] == "resnet20-xavier-long"]
    assert len(lonely) == 1
    assert lonely[["weights_share", "logits_share"]].isna().all(axis=None)
    others = table[table["teacher"] != "resnet20-xavier-long"]
    assert others[["weights_share", "logits_share"]].notna().all(axis=None)


def test_the_pair_is_in_order_and_kd_comes_first(table: pd.DataFrame) -> None:
    for _, row in table.iterrows():
        a, b = (tuple(row[f"{key}_{side}"] for key in SIDE) for side in "ab")
        if (a[0] == "kd") == (b[0] == "kd"):
            assert a < b
        else:
            assert a[0] == "kd"


def test_the_temperature_is_that_of_a_over_its_teachers_rms(table: pd.DataFrame) -> None:
    rms = [RMS[row["teacher"], row["teacher_seed"]] for _, row in table.iterrows()]
    pd.testing.assert_series_equal(
        table["temperature_over_rms"], table["temperature_a"] / rms, check_names=False
    )
    beside_lm = table[(table["loss_a"] == "kd") & (table["loss_b"] == "lm")]
    assert set(beside_lm["temperature_over_rms"]) == {2.0, 1.6, INF}


def test_the_order_students_are_given_in_decides_nothing(
    table: pd.DataFrame, students: list[Student]
) -> None:
    order = GROUP + [f"{key}_{side}" for side in "ab" for key in SIDE]
    first, second = (
        frame.sort_values(order, ignore_index=True)
        for frame in (table, compare(students[::-1], RMS))
    )
    pd.testing.assert_frame_equal(first, second)


def test_each_student_is_read_once(
    students: list[Student], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counting(folder: Path) -> comparisons.Outcome:
        read.append(folder)
        return load_outcome(folder)

    monkeypatch.setattr(comparisons, "load_outcome", counting)
    compare(students, RMS)
    assert sorted(read) == sorted(folder for _, folder in students)


def distances(a: Path, b: Path) -> pd.Series:
    pair = [(keys("kd", 4.0, 0.0, 0, 0), a), (keys("lm", INF, 0.0, 0, 0), b)]
    columns = ["weights_distance", "logits_distance", "agreement", "accuracy_difference"]
    return compare(pair, RMS)[columns].iloc[0]


def test_what_all_classes_share_moves_no_distance(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    for name in "abc":
        write(tmp_path / name, generator)
    before = distances(tmp_path / "a", tmp_path / "b")
    state = load_file(tmp_path / "b/model.safetensors")
    state["classifier.weight"] += np.float32(3) * np.arange(FEATURES, dtype=np.float32)
    state["classifier.bias"] -= np.float32(5)
    for name in ("bn.running_mean", "bn.running_var", "bn.num_batches_tracked"):
        state[name] = np.asarray(state[name] + state[name].dtype.type(9))
    save_weights(state, tmp_path / "b/model.safetensors")
    z = np.stack(read_table(tmp_path / "b/logits.parquet", "logits")["logits"].to_list())
    write_logits(tmp_path / "b", z + np.arange(IMAGES, dtype=np.float32)[:, None])
    after = distances(tmp_path / "a", tmp_path / "b")
    # float32 files round what was added
    pd.testing.assert_series_equal(before, after, rtol=1e-5)
    assert (distances(tmp_path / "a", tmp_path / "c") - before).abs().max() > 0.1


def test_one_weight_moves_the_distance_by_as_much(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / name, np.random.default_rng(2))
    assert distances(tmp_path / "a", tmp_path / "b")["weights_distance"] == 0
    state = load_file(tmp_path / "b/model.safetensors")
    state["stem.weight"][0, 0] = state["stem.weight"][0, 0] + np.float32(0.5)
    save_weights(state, tmp_path / "b/model.safetensors")
    found = distances(tmp_path / "a", tmp_path / "b")
    assert found["weights_distance"] == pytest.approx(0.5, rel=1e-6)
    assert found["logits_distance"] == 0


def test_the_table_is_that_of_the_schema(table: pd.DataFrame, tmp_path: Path) -> None:
    assert set(table.columns) == set(SCHEMAS["comparisons"])
    assert set(GROUP + SIDE) == set(STUDENT_KEYS)
    write_table("comparisons", table, tmp_path / "comparisons.parquet")
    assert len(read_table(tmp_path / "comparisons.parquet", "comparisons")) == len(table)


@pytest.mark.parametrize("count", [0, 1])
def test_no_pair_is_an_empty_table(students: list[Student], tmp_path: Path, count: int) -> None:
    write_table("comparisons", compare(students[:count], RMS), tmp_path / "comparisons.parquet")
    assert read_table(tmp_path / "comparisons.parquet", "comparisons").empty


def test_damaged_logits_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a", np.random.default_rng(3))
    (tmp_path / "a/logits.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"a/logits\.parquet"):
        load_outcome(tmp_path / "a")


def test_a_lost_student_has_its_pairs_without_a_distance_and_with_the_reason(
    tmp_path: Path,
) -> None:
    members = [
        (keys(loss, temperature, 0.0, 0, seed), tmp_path / f"{loss}{seed}")
        for loss, temperature in (("kd", 4.0), ("lm", INF), ("ce", 1.0))
        for seed in range(3)
    ]
    gone = tmp_path / "kd2"
    for number, (_, folder) in enumerate(members):
        if folder != gone:
            write(folder, np.random.default_rng(number))
    pairs = compare(members, RMS, {gone: ("missing", "kd2 is lost")})
    # as many pairs as if nothing were lost: 3 between losses for each seed, 3 between seeds
    assert len(pairs) == 3 * 3 + 3 * 3
    is_kd2 = ((pairs["loss_a"] == "kd") & (pairs["seed_a"] == 2)) | (
        (pairs["loss_b"] == "kd") & (pairs["seed_b"] == 2)
    )
    numbers = ["weights_distance", "logits_distance", "agreement", "accuracy_difference"]
    assert (pairs.loc[is_kd2, "status"] == "missing").all()
    assert pairs.loc[is_kd2, numbers].isna().all(axis=None)
    assert (pairs.loc[~is_kd2, "status"] == "finished").all()
    assert pairs.loc[~is_kd2, numbers].notna().all(axis=None)
    # a share is of the distance between seeds, and for KD one of its three is lost
    with_kd = (pairs["loss_a"] == "kd") | (pairs["loss_b"] == "kd")
    shares = ["weights_share", "logits_share"]
    assert pairs.loc[with_kd, shares].isna().all(axis=None)
    assert (pairs.loc[with_kd, "reason"].str.contains("kd2 is lost")).all()
    assert pairs.loc[~with_kd, shares].notna().all(axis=None)
    assert pairs.loc[~with_kd, "reason"].isna().all()


def test_missing_is_worse_than_diverged(tmp_path: Path) -> None:
    members = [(keys("kd", 4.0, 0.0, 0, seed), tmp_path / str(seed)) for seed in (0, 1)]
    lost = {tmp_path / "0": ("missing", "zero"), tmp_path / "1": ("diverged", "one")}
    (pair,) = compare(members, RMS, lost).to_dict("records")
    assert pair["status"] == "missing"
    assert pair["reason"] == "zero; one"


def test_of_many_seeds_each_is_compared_with_the_next_sixteen(tmp_path: Path) -> None:
    """All pairs would grow with the square of the seeds."""
    generator = np.random.default_rng(0)
    found = [
        (keys("kd", 4.0, 0.0, 0, seed), tmp_path / str(seed))
        for seed in (*range(10, 30), *range(5))
    ]
    for _, folder in found:
        write(folder, generator)
    table = compare(found, RMS)
    pairs = set(zip(table["seed_a"], table["seed_b"], strict=True))
    seeds = [*range(5), *range(10, 30)]
    near = {(a, b) for i, a in enumerate(seeds) for b in seeds[i + 1 : i + 17]}
    assert set(table["kind"]) == {"seed"}
    assert pairs == near
    assert len(table) == len(near)
    # the mean over these pairs is the unit of every distance
    assert table["weights_share"].mean() == pytest.approx(1)
