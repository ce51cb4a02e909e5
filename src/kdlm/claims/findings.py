"""The study's result in ten sentences, and the README's generated parts, from the tables.

The page of ten sentences adds to the answers of `kdlm.claims.answer` the strongest objection to
each.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kdlm.claims.answer import answers
from kdlm.claims.shown import ShownClaim, shown_claims
from kdlm.claims.statistics import VERDICTS
from kdlm.errors import InputError
from kdlm.storage.files import replacing
from kdlm.tables.accuracies import accuracies
from kdlm.terminal import printable

__all__ = ["SENTENCES", "Sentence", "findings", "readme_parts", "renew", "verdicts"]


@dataclass(frozen=True)
class Sentence:
    """The sentences for the possible verdicts on one claim, and the strongest objection.

    Texts are format strings in which the claims are variables, with the attributes of
    `ShownClaim`: ``{equal_means.value}``. A claim's name is its key with underscores for hyphens
    and dots.
    """

    key: str
    supported: str
    refuted: str
    objection: str
    inconclusive: str = ""
    """If it is empty, the page says that the claim was not decided."""


SENTENCES = (
    Sentence(
        "eq7-corrected",
        "As T grows, KD's gradient becomes that of logits matching after each sample's mean logit "
        "is subtracted on both sides: at the largest T the two differ by "
        "{eq7_corrected.value}, and the distance falls as {eq7_slope.value}. With the sign that "
        "the paper prints in (7) they differ by {eq7_printed.value}.",
        "At the largest T KD's gradient and the corrected (7) differ by {eq7_corrected.value}.",
        "This is a limit, in T over the size of the logits. At a smaller T the gradients differ "
        "by more, and sentence 7 says what training makes of that.",
    ),
    Sentence(
        "energy-identity",
        "In every sample the loss of LM is that of KD at T = inf plus g^2/2, where g = c^s - c^t "
        "is the difference of the two mean logits, and its gradient is larger by g/K on every "
        "logit; the worst violation is {energy_identity.value}. So g decides the question.",
        "LM is not KD at T = inf plus g^2/2: the worst violation is {energy_identity.value}.",
        "An identity of losses says nothing about students; it was proven before, by Kim et al. "
        "in 2021.",
    ),
    Sentence(
        "energy-start",
        "With average means made equal at the start, g accounts for no more than "
        "{energy_start.value} there.",
        "Equal average means, the paper's condition, do not make g zero: it varies from sample to "
        "sample, and at the start it still accounts for up to {energy_start.value}.",
        "That share is small, and no accuracy is known to depend on it (sentence 8).",
    ),
    Sentence(
        "energy-solution",
        "After training g accounts for no more than {energy_solution.value}.",
        "After training g accounts for up to {energy_solution.value} at the solutions of KD at "
        "T = inf and of LM.",
        "The largest share is that of one student; those of LM, which is trained to make g small, "
        "have a smaller one.",
    ),
    Sentence(
        "centred-classifier",
        "If the mean logit is zero for every single sample, in teacher and student, KD at T = inf, "
        "LM, centred LM and (8) train the same student, to {centred_classifier.value}. A last "
        "layer whose rows sum to zero at the start keeps that "
        "under SGD.",
        "Students whose mean logit starts at zero for every sample end up to "
        "{centred_classifier.value} apart.",
        "Shown for one network pair, and under SGD: under Adam the mean logits leave zero, by "
        "{centred_classifier_adam.value}.",
    ),
    Sentence(
        "equal-means",
        "With average means equal at the start, KD at T = inf and LM train the same student.",
        "With average means equal at the start, KD at T = inf and LM do not train the same "
        "student: the worst pair ends {equal_means.value} apart. What is refuted is the exact "
        "identity.",
        "That distance is on the plateau of the ladder: a tiny jitter of the initial weights "
        "carries KD at T = inf as far from itself. So it shows that the students differ, and not "
        "that the losses differ much; sentences 3 and 4 have that size, and sentence 8 the effect.",
    ),
    Sentence(
        "equivalence-logits.corrected",
        "The largest finite temperature of this study trains the student of centred LM, to "
        "{equivalence_logits_corrected.value}.",
        "Even the largest finite temperature of this study does not train the student of centred "
        "LM: it ends {equivalence_logits_corrected.value} away.",
        "At smaller temperatures the students are saturated, as the row lists: as far apart as a "
        "small jitter of the initial weights drives them, although the gradients agree to many "
        "digits.",
    ),
    Sentence(
        "equivalence-accuracy.as-stated",
        "KD at high T and at inf is as accurate as LM on this test set, allowed "
        "{equivalence_accuracy_as_stated.margin}: the worst case is "
        "{equivalence_accuracy_as_stated.value} ({equivalence_accuracy_as_stated.interval}).",
        "KD at high T and at inf is not as accurate as LM on this test set: the worst case is "
        "{equivalence_accuracy_as_stated.value} ({equivalence_accuracy_as_stated.interval}).",
        "{equivalence_accuracy_as_stated.n} seeds and a small test set decide little: `kdlm power "
        "config.yaml --from results/digits` says how many seeds it would take. Predictions differ "
        "by {equivalence_predictions_as_stated.value}.",
        "Whether KD at high T and at inf is as accurate as LM on this test set, allowed "
        "{equivalence_accuracy_as_stated.margin}, is not decided: the worst case is "
        "{equivalence_accuracy_as_stated.value} ({equivalence_accuracy_as_stated.interval}).",
    ),
    Sentence(
        "means-stay",
        "Mean logits keep their initial values during training: the worst student's move by "
        "{means_stay.value}.",
        "Mean logits do not keep their initial values: the worst student's move by "
        "{means_stay.value}, the worst teacher's by {means_stay_teacher.value}. With constants "
        "fixed before training and its sign corrected, (8) ends {eq8_untrained_corrected.value} "
        "away from the student of KD at T = inf.",
        "What is kept is the sum over classes of the last layer's weights and biases, under SGD "
        "without weight decay, to {sums_stay.value}; a weaker reading of the paper could mean "
        "that.",
    ),
    Sentence(
        "table1",
        "The four means of Table 1 are plausible under some protocol ({table1.value}).",
        "The four means of Table 1 are not plausible together under any protocol that was tried "
        "(largest {table1.value}). Without ResNet-44's the other three have "
        "{table1_without_resnet44.value}; ResNet-44's is {table1_resnet44.value} out there.",
        "Initialisation, BatchNorm's mode and images of Table 1 are not stated; these are other "
        "images than CIFAR-100's, and a misprinted exponent would explain the outlier.",
    ),
)

_SHORT = (
    ("eq7-printed", "KD's gradient tends to (zˢ − zᵗ + cˢ − cᵗ)/K, at the largest T"),
    ("eq7-corrected", "… to (zˢ − zᵗ − (cˢ − cᵗ))/K"),
    ("eq7-slope", "… and the distance to it falls as 1/T"),
    ("eq8-printed", "LM + (cˢ − cᵗ)/K Σ zˢ, with the current means, has the gradient of KD at ∞"),
    ("eq8-corrected", "LM + (cᵗ − cˢ)/K Σ zˢ, with the current means, has it"),
    ("eq8-trained.corrected", "… trains KD's student with constants, the trained teacher's mean"),
    ("eq8-untrained.corrected", "… with constants, both means before training (the paper's text)"),
    ("energy-identity", "LM is KD at ∞ plus ½ g² in every sample"),
    ("energy-start", "equal average means at the start make them one: share of g in LM"),
    ("energy-solution", "… also after training"),
    ("equal-means", "equal average means make KD at ∞ train LM's student"),
    ("centred-classifier", "zero means sample by sample do"),
    ("gap-kd", "KD does not see a mean gap of 5 logits"),
    ("gap-lm", "LM does not either"),
    ("equivalence-logits.corrected", "KD at the largest finite T trains centred LM's student"),
    ("equivalence-accuracy.as-stated", "KD at high T and ∞ is as accurate as LM on this test set"),
    ("equivalence-accuracy.corrected", "… as centred LM"),
    ("equivalence-predictions.as-stated", "their predictions differ no more than two seeds'"),
    ("means-stay", "logit means keep their initial values: largest drift"),
    ("sums-stay", "the classifier's sums over classes do, without weight decay"),
    ("l1-like", "the term of (8) shrinks logits as an l1 penalty"),
    ("b4-printed", "CE ≥ −Σ y z + Σ z (by how much it fails)"),
    ("table1", "the four published initialisation means are plausible"),
)
"""The rows of the README's table: a claim's key, and its statement in short."""

_HEAD = """# Findings

The answer of the default study in ten sentences. This page is generated from the study's verdicts,
`python -m kdlm findings results/digits`, and a test holds it against the record in
results/reference/. Networks and seeds that a number was measured on are printed by the command
beside it. The distance between two seeds is how far apart the same training ends with another seed.

"""


def findings(claims: pd.DataFrame, folder: str) -> str:
    """Return the page ``docs/findings.md`` for the table ``claims`` of the study in ``folder``.

    Every sentence has its claim's key, verdict, value, margin and n, the command that prints the
    row, and the strongest objection.

    Raises:
        InputError: the table lacks a claim, or has an unknown verdict.

    """
    rows = _rows(claims, [sentence.key for sentence in SENTENCES])
    for sentence in SENTENCES:
        if rows[sentence.key].verdict not in VERDICTS:
            raise InputError(f"claims: {sentence.key} has no verdict; run snakemake again")
    parts = [_item(number, one, rows, folder) for number, one in enumerate(SENTENCES, 1)]
    return _HEAD + "\n".join(parts)


def _rows(claims: pd.DataFrame, keys: Iterable[str]) -> dict[str, ShownClaim]:
    """Return the rows of table ``claims`` by key.

    Raises:
        InputError: one of ``keys`` is not among them.

    """
    rows = {row.key: row for row in shown_claims(claims)}
    if missing := [key for key in keys if key not in rows]:
        raise InputError(f"claims: no {missing[0]}; run snakemake again")
    return rows


def _item(number: int, sentence: Sentence, rows: Mapping[str, ShownClaim], folder: str) -> str:
    row = rows[sentence.key]
    named = {key.replace("-", "_").replace(".", "_"): one for key, one in rows.items()}
    text = getattr(sentence, row.verdict)
    said = text.format(**named) if text else f"This was not decided: {printable(row.reason)}."
    interval = "" if row.interval in ("exact", "-") else f", 90% interval {row.interval}"
    return (
        f"{number}. **{said}**\n"
        f"   {row.key}: {row.verdict}, {row.value}{interval}, allowed {row.margin}, n = {row.n}.\n"
        f"   `python -m kdlm claims {folder} --id {row.key}`\n"
        f"   *Strongest objection:* {sentence.objection.format(**named)}\n"
    )


def verdicts(claims: pd.DataFrame) -> str:
    """Return the README's table of verdicts, in Markdown, for a table ``claims``.

    Raises:
        InputError: the table lacks a claim.

    """
    rows = _rows(claims, [key for key, _ in _SHORT])
    lines = [
        "| claim | statement | measured | allowed | n | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for key, statement in _SHORT:
        row = rows[key]
        interval = "" if row.interval in ("exact", "-") else f" ({row.interval})"
        verdict = f"**{row.verdict}**" if row.verdict == "refuted" else row.verdict
        lines.append(
            f"| `{key}` | {statement} | {row.value}{interval} | {row.margin} | {row.n} "
            f"| {verdict} |"
        )
    return "\n".join(lines)


_FIRST_ANSWERS = 4
"""Number of answers at the head of the README; the others stand above the table of verdicts."""


def readme_parts(claims: pd.DataFrame, runs: pd.DataFrame) -> dict[str, str]:
    """Return the generated parts of the README, by the name of their markers.

    Args:
        claims: table ``claims``.
        runs: table ``runs``.

    Raises:
        InputError: table ``claims`` lacks a claim.

    """
    found = [f"- **{one.question}** {one.text}" for one in answers(claims)]
    return {
        "answer": "\n".join(found[:_FIRST_ANSWERS]),
        "audit": "\n".join(found[_FIRST_ANSWERS:]),
        "accuracies": _accuracies(runs),
        "verdicts": verdicts(claims),
    }


def _accuracies(runs: pd.DataFrame) -> str:
    """Return the table of test accuracies, in Markdown."""
    found = accuracies(runs)
    if not found:
        return "No student of LM and of KD at T = ∞ is finished."
    lines = [
        f"| {found[0].students} | test accuracy, mean | 90 % interval | seeds |",
        "|---|---|---|---|",
    ]
    for one in found:
        interval = "-" if math.isinf(one.low) else f"{one.low:.1%} to {one.high:.1%}"
        label = one.label.replace("inf", "∞")
        lines.append(f"| {label} | {one.mean:.1%} | {interval} | {one.n} |")
    return "\n".join(lines)


def renew(page: Path, claims: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Write the generated parts of a Markdown file anew.

    Each part stands between ``<!-- name -->`` and ``<!-- end -->``, on lines of their own.

    Raises:
        InputError: the file is not there, is not text, or has no such part; or table ``claims``
            lacks a claim.

    """
    try:
        text = page.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{page}: not a Markdown file") from None
    renewed, count = text, 0
    for name, part in readme_parts(claims, runs).items():
        start, end = f"<!-- {name} -->\n", "\n<!-- end -->"
        before, marker, rest = renewed.partition(start)
        if marker and end in rest:
            renewed, count = before + start + part + rest[rest.index(end) :], count + 1
    if not count:
        raise InputError(f"{page}: no <!-- answer --> … <!-- end --> to renew")
    with replacing(page) as temporary:
        temporary.write_text(renewed, encoding="utf-8")
