"""Table `comparisons`: the distances between two students in weights, logits and predictions."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.numpy import load

from kdlm.storage.files import read_sealed
from kdlm.storage.parquet import write_tables
from kdlm.study import names
from kdlm.study.config import Study
from kdlm.study.schemas import SCHEMAS, STUDENT_KEYS
from kdlm.tables.ladder import OBJECTIVE, ladders
from kdlm.tables.networks import (
    Network,
    calibration_error,
    networks,
    none_missing,
    rms,
    test_logits,
)

__all__ = ["Outcome", "compare", "compare_study", "comparisons", "load_outcome", "with_shares"]

Array = npt.NDArray[np.float64]
Keys = Mapping[str, Any]

GROUP = tuple(STUDENT_KEYS)[:5]
SIDE = tuple(STUDENT_KEYS)[5:]
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")

NEIGHBOURS = 16
"""Number of seeds, of those after it, that a seed is compared with.

Up to 17 seeds these are all. With more, all pairs would grow with the square of the seeds, for a
mean that these pairs estimate without bias, and hardly less precisely.
"""


def compare_study(study: Study, folder: Path) -> None:
    """Write table ``comparisons`` of the study in ``folder``.

    Raises:
        InputError: the files of a network are missing or damaged.

    """
    write_tables(folder, comparisons=comparisons(none_missing(networks(study, folder))))


def comparisons(found: Iterable[Network]) -> pd.DataFrame:
    """Return table ``comparisons`` of the networks ``found``.

    The pairs of a student that diverged or is missing are in the table too, without distances.
    """
    spread: dict[Path, float] = {}
    teacher_rms, students, lost = {}, [], {}
    for network in found:
        keys, job = network.keys, network.job
        if network.status != "finished":
            lost[network.folder] = (network.status, str(network.reason))
        elif job.teacher is None:
            z, _ = test_logits(network.folder)
            spread[job.folder] = rms(z - z.mean(axis=1, keepdims=True))
        if job.teacher is not None:
            students.append((keys, network.folder))
            if job.teacher.folder in spread:
                teacher_rms[keys["teacher"], keys["teacher_seed"]] = spread[job.teacher.folder]
    return compare(students, teacher_rms, lost)


@dataclass(frozen=True)
class Outcome:
    """Everything about a trained student that comparisons use."""

    weights: Array
    """All parameters in one vector; W and b of the last layer are centred over the classes."""
    logits: Array
    """Test logits (N, K), centred over the classes in each sample."""
    predictions: npt.NDArray[np.int64]
    """Predicted class of each test image, (N,)."""
    right: npt.NDArray[np.bool_]
    """Whether the prediction of each test image is right, (N,)."""
    calibration_error: float
    """Expected calibration error on the test images, between 0 and 1."""


def load_outcome(folder: Path) -> Outcome:
    """Read the outcome of the student whose files are in ``folder``.

    Raises:
        InputError: a file is missing or damaged.

    """
    state = load(read_sealed(folder / "model.safetensors"))
    parts = []
    for name in sorted(state):
        if name.endswith(BUFFERS):
            continue
        value = state[name].astype(np.float64)
        # Softmax ignores a constant common to all classes, and so do KD and CE.
        centred = value - value.mean(axis=0) if name.startswith("classifier.") else value
        parts.append(centred.ravel())
    logits, labels = test_logits(folder)
    predictions = logits.argmax(axis=1)
    return Outcome(
        weights=np.concatenate(parts),
        logits=logits - logits.mean(axis=1, keepdims=True),
        predictions=predictions,
        right=predictions == labels,
        calibration_error=calibration_error(logits, labels),
    )


def compare(
    students: Sequence[tuple[Keys, Path]],
    teacher_rms: Mapping[tuple[str, int], float],
    lost: Mapping[Path, tuple[str, str]] | None = None,
) -> pd.DataFrame:
    """Return table ``comparisons``, a row for each pair of students that differ in one respect.

    Both students of a pair have the same teacher, architecture, initialisation and recipe. The
    kinds of pairs are:

    - ``objective``: the same seed and another loss, temperature, mean gap or kind of means;
    - ``floor``: a student and the same with initial weights one unit in the last place away;
    - ``rung``: a student and the same with initial weights w (1 + εξ), a rung of the ladder;
    - ``seed``: the same objective and another seed, one of the next `NEIGHBOURS`.

    A distance is also given as a share of the mean distance between seeds, and so is the share of
    test images predicted otherwise. If one of the distances between these seeds is lost, the share
    is null. The share is also read on the ladder of the students' group, as the relative jitter of
    initial weights that does the same (`kdlm.tables.ladder`).

    Args:
        students: path keys, typed as in `STUDENT_KEYS`, and folder of each student.
        teacher_rms: rms of the centred test logits z − c of each teacher, by its name and seed.
        lost: status and reason of each student that diverged or is missing, by its folder. Its
            pairs are in the table without distances.

    """
    lost = lost or {}
    groups: dict[tuple[Any, ...], list[tuple[Keys, Path]]] = defaultdict(list)
    for keys, folder in students:
        groups[tuple(keys[key] for key in GROUP)].append((keys, folder))
    rows = []
    for group, members in groups.items():
        scale = teacher_rms.get((group[0], group[1]), np.nan)
        outcomes = [
            (keys, lost[folder] if folder in lost else load_outcome(folder))
            for keys, folder in members
        ]
        for kind, (keys_a, a), (keys_b, b) in _pairs(outcomes):
            rows.append(
                {"kind": kind, **dict(zip(GROUP, group, strict=True))}
                | {f"{key}_a": keys_a[key] for key in SIDE}
                | {f"{key}_b": keys_b[key] for key in SIDE}
                | {"temperature_over_rms": keys_a["temperature"] / scale}
                | _compared(a, b)
            )
    if not rows:
        return pd.DataFrame(columns=list(SCHEMAS["comparisons"]))
    return _with_jitters(with_shares(pd.DataFrame(rows)))


def with_shares(pairs: pd.DataFrame) -> pd.DataFrame:
    """Add each distance as a share of the mean distance between seeds.

    The divisor is the mean of two numbers: for each student of the pair, the mean distance between
    the seeds of its own objective.
    """
    arm = ["loss", "temperature", "means", "mean_gap"]
    pairs["disagreement"] = 1 - pairs["agreement"]
    seeds = pairs[pairs["kind"] == "seed"]
    own = seeds.rename(columns={f"{key}_a": key for key in arm})
    # If the distance to one seed is lost there is no mean: that of the others would be another
    # measure.
    groups = own.groupby([*GROUP, *arm])
    distances = groups[list(_SHARES)]
    between = distances.mean().where(distances.count().eq(groups.size(), axis=0))
    missed = groups["reason"].first()
    for distance, share in _SHARES.items():
        sides = [
            pairs.merge(
                between[[distance]].rename(columns={distance: "between"}),
                how="left",
                left_on=[*GROUP, *(f"{key}_{side}" for key in arm)],
                right_index=True,
            )["between"]
            for side in ("a", "b")
        ]
        pairs[share] = pairs[distance] / (sum(sides) / 2)
    for side in ("a", "b"):
        keys = [*GROUP, *(f"{key}_{side}" for key in arm)]
        merged = pairs.merge(missed.rename("missed"), how="left", left_on=keys, right_index=True)
        pairs["reason"] = pairs["reason"].where(pairs["reason"].notna(), merged["missed"])
    return pairs.drop(columns="disagreement")


def _with_jitters(pairs: pd.DataFrame) -> pd.DataFrame:
    """Add for each share the jitter of initial weights that does as much, if there is a ladder."""
    for share, jitter in (("weights_share", "weights_jitter"), ("logits_share", "logits_jitter")):
        pairs[jitter] = np.nan
        found = ladders(pairs, share)
        for group, members in pairs.groupby(list(GROUP)):
            if group in found:
                read = found[group].jitter(members[share].to_numpy())
                pairs.loc[members.index, jitter] = read
    return pairs


Lost = tuple[str, str]
Member = tuple[Keys, Outcome | Lost]


def _pairs(members: list[Member]) -> Iterator[tuple[str, Member, Member]]:
    """Yield the pairs of one group that are compared, with their kind, in the order of `_order`.

    Only students that are alike in all but one respect are looked at: the number of all pairs grows
    with the square of the group, and few of them are compared.
    """
    ordered = sorted(members, key=lambda member: _order(member[0]))
    found: list[tuple[int, int]] = []
    for varied in (OBJECTIVE, ["perturbation"], ["relative_perturbation"], ["seed"]):
        alike = defaultdict(list)
        for position, (keys, _) in enumerate(ordered):
            alike[tuple(keys[key] for key in SIDE if key not in varied)].append(position)
        for positions in alike.values():
            found += _near(positions) if varied == ["seed"] else combinations(positions, 2)
    for first, second in sorted(found):
        one, other = ordered[first], ordered[second]
        kind = _kind(one[0], other[0])
        if kind:
            yield kind, one, other


def _near(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of each position with the next `NEIGHBOURS`."""
    for place, first in enumerate(positions):
        for second in positions[place + 1 : place + 1 + NEIGHBOURS]:
            yield first, second


def _order(keys: Keys) -> tuple[Any, ...]:
    # Losses with a temperature come first, because temperature_over_rms of a pair is computed from
    # the temperature of its first member.
    return (not names.LOSSES[keys["loss"]].tempered, *(keys[key] for key in SIDE))


def _kind(a: Keys, b: Keys) -> str | None:
    differing = {key for key in SIDE if a[key] != b[key]}
    for key, kind in (("perturbation", "floor"), ("relative_perturbation", "rung")):
        if differing == {key}:
            # a rung is compared with the student whose weights were not moved
            return None if a[key] and b[key] else kind
        if a[key] or b[key]:
            return None
    if differing == {"seed"}:
        return "seed"
    return None if "seed" in differing else "objective"


def _compared(a: Outcome | Lost, b: Outcome | Lost) -> dict[str, Any]:
    lost = [side for side in (a, b) if not isinstance(side, Outcome)]
    if not isinstance(a, Outcome) or not isinstance(b, Outcome):
        nothing = dict.fromkeys(_MEASURES, np.nan)
        # "missing" is worse than "diverged", and also later in the alphabet
        return {"status": max(lost)[0], "reason": "; ".join(why for _, why in lost)} | nothing
    return {"status": "finished", "reason": None} | _distances(a, b)


_MEASURES = (
    "weights_distance",
    "logits_distance",
    "agreement",
    "accuracy_difference",
    "accuracy_image_error",
    "calibration_difference",
)

_SHARES = {
    "weights_distance": "weights_share",
    "logits_distance": "logits_share",
    "disagreement": "disagreement_share",
}
"""By measure, the column that has it as a share of its mean between seeds."""


def _distances(a: Outcome, b: Outcome) -> dict[str, float]:
    gained = a.right.astype(np.float64) - b.right
    return {
        # numpy's own sum: that of BLAS depends on the number of its threads
        "weights_distance": float(np.sqrt(np.square(a.weights - b.weights).sum())),
        "logits_distance": float(np.sqrt(np.square(a.logits - b.logits).mean())),
        "agreement": float((a.predictions == b.predictions).mean()),
        "accuracy_difference": float(gained.mean()),
        "accuracy_image_error": float(gained.std() / np.sqrt(len(gained))),
        "calibration_difference": a.calibration_error - b.calibration_error,
    }
