"""Deciding statements about every pair of students by the worst pair, with its distance's size.

A distance is given as a share of the distance between two seeds of the same students, and its size
as the relative jitter of initial weights that carries one and the same loss as far
(`kdlm.tables.ladder`). A group of students can only be judged if rounding alone does not drive them
apart: the lowest rung of its ladder, or a student moved by one unit in the last place, has to stay
below the claim's margin. A distance within the margin does not support a claim either if it is on
the ladder's plateau, because no jitter can be read there.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from kdlm.claims.evidence import (
    Evidence,
    Finding,
    NotMeasured,
    at_most,
    exactly,
    require_complete,
    worst,
)
from kdlm.claims.pairs import GROUP, of_group
from kdlm.study import names
from kdlm.study.specs import format_number
from kdlm.tables.ladder import Ladder, ladders

__all__ = ["OBJECTIVE", "share_and_size", "worst_pair"]

_BEYOND = 1.5
"""Ratio of a distance to the largest on the ladder, up to which chaos alone can explain it."""

OBJECTIVE = ["loss", "temperature", "means", "mean_gap"]


def worst_pair(rows: pd.DataFrame, evidence: Evidence, columns: list[str], limit: float) -> Finding:
    """Return the finding of the pair that is furthest apart, in the group whose verdict is worst.

    A group has one teacher, architecture, initialisation and recipe. One pair beyond the margin
    refutes the statement, even if other pairs are lost. Otherwise no pair may be lost.

    Args:
        rows: pairs of table ``comparisons``.
        evidence: the study's tables.
        columns: shares of the distance between seeds; the largest of them counts.
        limit: the margin, a share of the distance between seeds.

    Raises:
        NotMeasured: there is no pair, a number of one is lost, or there is one seed only.

    """
    if rows.empty:
        raise NotMeasured("no such pair of students in this study")
    measured = rows[rows[columns].notna().all(axis=1)]
    # A group without ladder and control was not made for this claim; it is used only if all groups
    # lack both.
    groups = [members for _, members in measured.groupby(GROUP)]
    asked = [members for members in groups if _is_asked(members, evidence)] or groups
    sizes = {}
    for members in asked:
        finding, size = _in_group(members, evidence, columns, limit)
        sizes[finding] = size
    margin = at_most(limit)
    found = worst(list(sizes), margin) if sizes else None
    if found is None or found.verdict(*margin) != "refuted":
        require_complete(rows, *columns)
    if found is None:
        raise NotMeasured("one seed only, so no distance between seeds to compare with")
    lost = len(rows) - len(measured)
    note = f"; {lost} pairs without a distance between seeds left out" if lost else ""
    if without := len(groups) - len(asked):
        note += f"; {without} groups of students without a ladder left out"
    # `worst` returns a copy of the finding that it chooses, so the findings are told apart by text.
    others = [s for finding, s in sizes.items() if finding.measured_on != found.measured_on]
    if others:
        note += f"; the worst pairs of other groups: {', '.join(others)}"
    return replace(found, measured_on=found.measured_on + note)


def _is_asked(members: pd.DataFrame, evidence: Evidence) -> bool:
    """Return whether the group of these pairs has a ladder or a control."""
    group = dict(members[GROUP].iloc[0])
    return any(len(of_group(evidence, kind, group)) for kind in ("rung", "floor"))


def _in_group(
    members: pd.DataFrame, evidence: Evidence, columns: list[str], limit: float
) -> tuple[Finding, str]:
    """Return the finding of the worst pair of one group, and in words its distance and size.

    Arguments after ``members``, the pairs of the group, are those of `worst_pair`.
    """
    group = dict(members[GROUP].iloc[0])
    shares = members[columns].max(axis=1)
    pair, share = members.loc[shares.idxmax()], float(shares.max())
    column = str(pair[columns].astype(float).idxmax())
    rungs = of_group(evidence, "rung", group)
    found = {name: ladder for name in columns for ladder in ladders(rungs, name).values()}
    ladder = max(found.values(), key=lambda one: one.shares[0]) if found else None
    doubt = _doubt(ladder, rungs, group, evidence, columns, limit)
    if share <= limit and not doubt:
        doubt = _blind(members, found)
    seeds = members["seed_a"].nunique()
    parts = [
        f"{group['architecture']} of {group['teacher']}, teacher seed {group['teacher_seed']}, "
        f"{group['initialisation']}, {group['recipe']}",
        f"worst of {len(members)} pairs of {seeds} seeds: {_side(pair, 'a')} and "
        f"{_side(pair, 'b')}, seed {pair['seed_a']}, in {column.removesuffix('_share')}",
        _size(share, found.get(column)),
    ]
    if share > limit and not doubt:
        parts.append(_practice(members, of_group(evidence, "seed", group)))
    size = (
        f"{share:.2g} ({group['architecture']}, {group['initialisation']}, {group['recipe']}: "
        f"{_size(share, found.get(column))})"
    )
    return replace(exactly(share, seeds, "; ".join(parts)), doubt=doubt), size


def _doubt(
    ladder: Ladder | None,
    rungs: pd.DataFrame,
    group: dict[str, Any],
    evidence: Evidence,
    columns: list[str],
    limit: float,
) -> str:
    """Return the reason why rounding alone could carry a group's students beyond the margin.

    The result is empty if there is no reason.
    """
    if ladder is not None and ladder.shares[0] < limit:
        return ""
    lost, control = "", math.nan
    try:
        controls = require_complete(of_group(evidence, "floor", group), *columns)
        control = controls[columns].max(axis=1, skipna=False).max()
        require_complete(rungs, *columns)
        lost = "one seed only, so no distance between seeds" if len(rungs) else ""
    except NotMeasured as reason:
        lost = str(reason)
    if control < limit:
        return ""
    if ladder is not None:
        recipes = evidence.runs[evidence.runs["recipe"] == group["recipe"]]
        precision = recipes["precision"].iloc[0]
        advice = (
            "give the ladder smaller rungs, or train less chaotically"
            if precision == "float64"
            else "ask the pointwise question in float64"
        )
        return (
            f"{precision}: a jitter of {ladder.rungs[0]:.1g} already reaches "
            f"{ladder.shares[0]:.2g} of the distance between seeds; {advice}"
        )
    if lost:
        return f"no ladder: {lost}"
    if control >= limit:
        return (
            f"no ladder in this arm, and one unit in the last place already reaches {control:.2g} "
            "of the distance between seeds"
        )
    return "no ladder in this arm"


def _blind(members: pd.DataFrame, found: dict[str, Ladder]) -> str:
    """Return the reason why distances within the margin may not be small; empty if there is none.

    The plateau of a ladder may be low. That of weights is, because most of the distance between two
    seeds exists before training. A margin above the plateau would accept students that have nothing
    in common but their initial weights.
    """
    for column, ladder in found.items():
        if ladder.flat and members[column].max() >= ladder.saturation:
            return (
                f"within the margin, but on the ladder's plateau, which begins at "
                f"{ladder.plateau_from:.1g} with {ladder.saturation:.2g} of the distance between "
                f"seeds: {column.removesuffix('_share')} cannot tell"
            )
    return ""


def _size(share: float, ladder: Ladder | None) -> str:
    """Return in words how large a distance is, read on its ladder."""
    if ladder is None:
        return "no ladder to read a size from"
    jitter = float(ladder.jitter(np.array(share)))
    if math.isinf(jitter) and ladder.flat:
        times = share / float(ladder.shares.max())
        if times > _BEYOND:
            return (
                f"beyond the ladder's plateau, {times:.1f} times its highest rung: more than chaos "
                "makes of any jitter"
            )
        return f"saturated: on the ladder's plateau, which begins at {ladder.plateau_from:.1g}"
    if math.isinf(jitter):
        return f"further apart than any rung carries one loss, up to {ladder.rungs[-1]:.1g}"
    if jitter == 0:
        return (
            f"nearer than a relative jitter of {ladder.rungs[0]:.1g} of the initial weights makes "
            "one and the same loss"
        )
    return (
        f"as far apart as a relative jitter of {jitter:.1g} of the initial weights makes one and "
        "the same loss"
    )


def _side(pair: pd.Series, side: str) -> str:
    """Return the name of a student of a pair: loss, temperature, and the gap imposed on it."""
    facts = names.LOSSES[pair[f"loss_{side}"]]
    spelt = format_number(float(pair[f"temperature_{side}"]))
    temperature = f" at T = {spelt}" if facts.tempered else ""
    gap = format_number(float(pair[f"mean_gap_{side}"]))
    imposed = {
        "trained-teacher": f"gap {gap}",
        "untrained-teacher": f"gap {gap} to the untrained teacher",
        "natural": "no gap imposed",
    }
    return f"{facts.label}{temperature}, {imposed[pair[f'means_{side}']]}"


def _practice(members: pd.DataFrame, seeds: pd.DataFrame) -> str:
    """Return in words how much the students of these pairs differ in accuracy and predictions.

    Args:
        members: pairs of one group.
        seeds: the group's pairs of kind ``seed``; those of the same objectives are used.

    """
    points = 100 * members["accuracy_difference"]
    otherwise = 1 - members["agreement"].mean()

    def objectives(rows: pd.DataFrame, side: str) -> list[tuple[Any, ...]]:
        keys = [f"{key}_{side}" for key in OBJECTIVE]
        return list(rows[keys].itertuples(index=False, name=None))

    used = {*objectives(members, "a"), *objectives(members, "b")}
    own = [objective in used for objective in objectives(seeds, "a")]
    beside = f" (two seeds: {1 - seeds.loc[own, 'agreement'].mean():.1%})" if any(own) else ""
    return (
        f"what is refuted is the exact identity; in practice the accuracies, first minus "
        f"second, differ by {points.mean():+.2f} points (from {points.min():+.2f} to "
        f"{points.max():+.2f}), and "
        f"{otherwise:.1%} of the test images are predicted otherwise{beside}"
    )


def share_and_size(pair: pd.Series, column: str) -> str:
    """Return a pair's share of the distance between seeds, with the jitter in brackets."""
    jitter = pair[column.replace("share", "jitter")]
    size = "" if pd.isna(jitter) else " (saturated)" if np.isinf(jitter) else f" ({jitter:.1g})"
    return f"{pair[column]:.2g}{size}"
