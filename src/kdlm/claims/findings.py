"""The study's result in ten sentences, a Markdown page generated from table `claims`."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pandas as pd

from kdlm.claims.statistics import VERDICTS
from kdlm.errors import InputError
from kdlm.terminal import printable

__all__ = ["SENTENCES", "Sentence", "findings", "verdicts"]


@dataclass(frozen=True)
class Sentence:
    """The sentences for the possible verdicts on one claim, and the strongest objection.

    Texts are format strings in which the rows of table ``claims`` are variables and the columns
    their attributes: ``{equal_means.value:.2g}``. The name of a row is the claim's id with
    underscores for hyphens. If a claim has several forms, ``_printed`` or ``_corrected`` is
    appended for these forms.
    """

    id: str
    form: str
    supported: str
    refuted: str
    objection: str
    inconclusive: str = ""
    """If it is empty, the page says that the claim was not decided."""


SENTENCES = (
    Sentence(
        "eq7-corrected",
        "corrected",
        "As T grows, KD's gradient becomes that of logits matching after each sample's mean logit "
        "is subtracted on both sides: at the largest T the two differ by "
        "{eq7_corrected.value:.2g} of the gradient, and the distance falls as T to the power "
        "{eq7_slope.value:.3f}. With the sign that the paper prints in (7) they differ by "
        "{eq7_printed.value:.2g}.",
        "KD's gradient is {eq7_corrected.value:.2g} of itself away from the corrected (7) at the "
        "largest T.",
        "This is a limit, in T over the size of the logits. At a smaller T the gradients differ "
        "by more, and sentence 7 says what training makes of that.",
    ),
    Sentence(
        "energy-identity",
        "corrected",
        "In every sample the loss of LM is that of KD at T = inf plus g^2/2, where g = c^s - c^t "
        "is the difference of the two mean logits, and its gradient is larger by g/K on every "
        "logit; the worst violation is {energy_identity.value:.1g}. So g decides the question.",
        "LM is not KD at T = inf plus g^2/2: the worst violation is {energy_identity.value:.1g}.",
        "An identity of losses says nothing about students; it was proven before, by Kim et al. "
        "in 2021.",
    ),
    Sentence(
        "energy-start",
        "as stated",
        "With average means made equal at the start, g accounts for no more than "
        "{energy_start.value:.2g} of LM's loss there.",
        "Equal average means, the paper's condition, do not make g zero: it varies from sample to "
        "sample, and at the start it still accounts for up to {energy_start.value:.1%} of LM's "
        "loss.",
        "That share is small, and no accuracy is known to depend on it (sentence 8).",
    ),
    Sentence(
        "energy-solution",
        "as stated",
        "After training g accounts for no more than {energy_solution.value:.2g} of LM's loss.",
        "After training g accounts for up to {energy_solution.value:.1%} of LM's loss at the "
        "solutions of KD at T = inf and of LM.",
        "The largest share is that of one student; those of LM, which is trained to make g small, "
        "have a smaller one.",
    ),
    Sentence(
        "centred-classifier",
        "corrected",
        "If the mean logit is zero for every single sample, in teacher and student, KD at T = inf, "
        "LM, centred LM and (8) train the same student, to {centred_classifier.value:.1g} of the "
        "distance between two seeds. A last layer whose rows sum to zero at the start keeps that "
        "under SGD.",
        "Students whose mean logit starts at zero for every sample end up to "
        "{centred_classifier.value:.2g} of the distance between two seeds apart.",
        "Shown for one network pair, and under SGD: under Adam the mean logits leave zero, by "
        "{centred_classifier_adam.value:.2g} of the rms of the logits.",
    ),
    Sentence(
        "equal-means",
        "as stated",
        "With average means equal at the start, KD at T = inf and LM train the same student.",
        "With average means equal at the start, KD at T = inf and LM do not train the same "
        "student: the worst pair ends {equal_means.value:.2g} of the distance between two seeds "
        "apart. What is refuted is the exact identity.",
        "That distance is on the plateau of the ladder: a tiny jitter of the initial weights "
        "carries KD at T = inf as far from itself. So it shows that the students differ, and not "
        "that the losses differ much; sentences 3 and 4 have that size, and sentence 8 the effect.",
    ),
    Sentence(
        "equivalence-logits",
        "corrected",
        "The largest finite temperature of this study trains the student of centred LM, to "
        "{equivalence_logits_corrected.value:.1g} of the distance between two seeds.",
        "Even the largest finite temperature of this study does not train the student of centred "
        "LM: {equivalence_logits_corrected.value:.2g} of the distance between two seeds.",
        "At smaller temperatures the students are saturated, as the row lists: as far apart as a "
        "small jitter of the initial weights drives them, although the gradients agree to many "
        "digits.",
    ),
    Sentence(
        "equivalence-accuracy",
        "as stated",
        "KD at high T and at inf is as accurate as LM on this test set, within "
        "{equivalence_accuracy.margin_high:.0%}: the worst case differs by "
        "{equivalence_accuracy.value:+.2%} ({equivalence_accuracy.ci_low:+.2%} to "
        "{equivalence_accuracy.ci_high:+.2%}).",
        "KD at high T and at inf is not as accurate as LM on this test set: the worst case differs "
        "by {equivalence_accuracy.value:+.2%} ({equivalence_accuracy.ci_low:+.2%} to "
        "{equivalence_accuracy.ci_high:+.2%}).",
        "{equivalence_accuracy.n} seeds and a small test set decide little: `kdlm power "
        "config.yaml --from results/digits` says how many seeds it would take. Predictions differ "
        "by {equivalence_predictions.value:.2f} of what those of two seeds differ by.",
        "Whether KD at high T and at inf is as accurate as LM, within "
        "{equivalence_accuracy.margin_high:.0%} on this test set, is not decided: the worst case "
        "differs by {equivalence_accuracy.value:+.2%} ({equivalence_accuracy.ci_low:+.2%} to "
        "{equivalence_accuracy.ci_high:+.2%}).",
    ),
    Sentence(
        "means-stay",
        "as stated",
        "Mean logits keep their initial values during training: the worst student's move by "
        "{means_stay.value:.2g} of their size.",
        "Mean logits do not keep their initial values: the worst student's move by "
        "{means_stay.value:.2g} of their size, the worst teacher's by "
        "{means_stay_teacher.value:.2g}. So (8) with constants fixed before training, even with "
        "its sign corrected, does not train the student of KD at T = inf "
        "({eq8_untrained_corrected.value:.2g} of the distance between two seeds).",
        "What is kept is the sum over classes of the last layer's weights and biases, under SGD "
        "without weight decay, to {sums_stay.value:.1g}; a weaker reading of the paper could mean "
        "that.",
    ),
    Sentence(
        "table1",
        "as stated",
        "The four means of Table 1 are plausible under some protocol (p = {table1.value:.2g}).",
        "The four means of Table 1 are not plausible together under any protocol that was tried "
        "(largest p = {table1.value:.1g}). Without ResNet-44's the other three are "
        "(p = {table1_without_resnet44.value:.2g}); ResNet-44's is "
        "{table1_resnet44.value:.0f} standard errors out there.",
        "Initialisation, BatchNorm's mode and images of Table 1 are not stated; these are other "
        "images than CIFAR-100's, and a misprinted exponent would explain the outlier.",
    ),
)

_SHORT = (
    ("eq7-printed", "printed", "KD's gradient tends to (zˢ − zᵗ + cˢ − cᵗ)/K: relative distance"),
    ("eq7-corrected", "corrected", "… to (zˢ − zᵗ − (cˢ − cᵗ))/K, at the largest T"),
    ("eq8-printed", "printed", "LM + (cˢ − cᵗ)/K Σ zˢ, with the current means, has KD's gradient"),
    ("eq8-corrected", "corrected", "LM + (cᵗ − cˢ)/K Σ zˢ has it"),
    ("eq8-untrained", "corrected", "… trains KD's student with its means fixed before training"),
    ("energy-identity", "corrected", "LM is KD at ∞ plus ½ g² in every sample: violation"),
    (
        "energy-start",
        "as stated",
        "equal average means at the start make them one: share of g in LM",
    ),
    ("energy-solution", "as stated", "… also after training"),
    ("equal-means", "as stated", "equal average means make KD at ∞ train LM's student"),
    ("centred-classifier", "corrected", "zero means sample by sample do"),
    ("gap-kd", "as stated", "KD does not see a mean gap of 5 logits"),
    ("gap-lm", "as stated", "LM does not either"),
    ("equivalence-logits", "corrected", "KD at the largest finite T trains centred LM's student"),
    (
        "equivalence-accuracy",
        "as stated",
        "KD at high T and ∞ is as accurate as LM on this test set",
    ),
    ("equivalence-accuracy", "corrected", "… as centred LM"),
    ("equivalence-predictions", "as stated", "their predictions differ no more than two seeds'"),
    ("means-stay", "as stated", "logit means keep their initial values: largest drift"),
    ("sums-stay", "corrected", "the classifier's sums over classes do, without weight decay"),
    ("l1-like", "as stated", "the term of (8) shrinks logits as an l1 penalty: ratio of sizes"),
    ("b4-printed", "printed", "CE ≥ −Σ y z + Σ z (by how much it fails)"),
    ("table1", "as stated", "the four published initialisation means are plausible: p"),
)
"""The rows of the README's table: id, form, and the statement in short."""

_HEAD = """# Findings

The answer of the default study in ten sentences. This page is generated from the study's verdicts,
`python -m kdlm findings results/digits`, and a test holds it against the record in
results/reference/. Networks and seeds that a number was measured on are printed by the command
beside it.

"""


def findings(claims: pd.DataFrame, folder: str) -> str:
    """Return the page ``docs/findings.md`` for the table ``claims`` of the study in ``folder``.

    Every sentence has its claim's id, verdict, value, margin and n, the command that prints the
    row, and the strongest objection.

    Raises:
        InputError: the table lacks a claim, or has an unknown verdict.

    """
    rows = {(row["id"], row["form"]): row for row in claims.to_dict("records")}
    for sentence in SENTENCES:
        found = rows.get((sentence.id, sentence.form))
        if found is None:
            raise InputError(f"claims: no {sentence.id}, {sentence.form}; run snakemake again")
        if found["verdict"] not in VERDICTS:
            raise InputError(f"claims: {sentence.id} has no verdict; run snakemake again")
    several = set(claims.loc[claims["id"].duplicated(), "id"])
    named = {
        _name(identity, form if identity in several else ""): SimpleNamespace(**row)
        for (identity, form), row in rows.items()
    }
    parts = [
        _item(number, sentence, rows[sentence.id, sentence.form], named, folder)
        for number, sentence in enumerate(SENTENCES, 1)
    ]
    return _HEAD + "\n".join(parts)


def verdicts(claims: pd.DataFrame) -> str:
    """Return the README's table of verdicts, in Markdown, for a table ``claims``."""
    rows = {(row["id"], row["form"]): row for row in claims.to_dict("records")}
    lines = [
        "| claim | statement | value | 90 % interval | n | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for identity, form, statement in _SHORT:
        row = rows[identity, form]
        low, high = row["ci_low"], row["ci_high"]
        interval = "exact" if low == high else f"{low:.2g} to {high:.2g}"
        plain = (
            identity if form == "as stated" or identity.endswith(form) else f"{identity}, {form}"
        )
        lines.append(
            f"| `{plain}` | {statement} | {row['value']:.2g} | {interval} | {row['n']} "
            f"| {row['verdict']} (margin {_margin(row)}) |"
        )
    return "\n".join(lines)


def _name(identity: str, form: str) -> str:
    """Return the name of a claim in the texts of `Sentence`."""
    plain = identity.replace("-", "_")
    return plain if form in ("", "as stated") else f"{plain}_{form}"


def _item(
    number: int, sentence: Sentence, row: Mapping[str, Any], named: Mapping[str, Any], folder: str
) -> str:
    text = getattr(sentence, row["verdict"])
    if text:
        said = text.format(**named)
    else:
        said = f"This was not decided: {printable(row['measured_on'])}."
    value = "no value" if pd.isna(row["value"]) else f"{row['value']:.3g}"
    identity = row["id"] if row["form"] == "as stated" else f"{row['id']}, {row['form']}"
    return (
        f"{number}. **{said}**\n"
        f"   {identity}: {row['verdict']}, {value}, margin {_margin(row)}, n = {row['n']}.\n"
        f"   `python -m kdlm claims {folder} --id {row['id']}`\n"
        f"   *Strongest objection:* {sentence.objection.format(**named)}\n"
    )


def _margin(row: Mapping[str, Any]) -> str:
    low, high = (f"{row[f'margin_{end}']:g}" for end in ("low", "high"))
    if low == "-inf":
        return f"at most {high}"
    return f"at least {low}" if high == "inf" else f"{low} to {high}"
