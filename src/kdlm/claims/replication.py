"""The claim that students trained here are as accurate as published ones of the same recipe."""

from typing import Any

from kdlm.claims.evidence import (
    Claim,
    Evidence,
    Finding,
    NotMeasured,
    over_seeds,
    require_complete,
    worst,
)
from kdlm.claims.statistics import simultaneous
from kdlm.tables.published_rows import DATASET, published_rows

__all__ = ["CLAIMS"]


def _replication(evidence: Evidence) -> Finding:
    """Measure the worst mean difference between measured and published accuracies.

    Raises:
        NotMeasured: the study is not one of CIFAR-100, or has no such students.

    """
    if evidence.dataset != DATASET:
        raise NotMeasured(
            f"the published accuracies are those on {DATASET}, and this study's dataset is another"
        )
    cases: list[dict[str, Any]] = [
        {"what": f"{loss} of {teacher} to {student}", "published": accuracy, "rows": rows}
        for (teacher, student), loss, accuracy, rows in published_rows(evidence.runs)
        if not rows.empty
    ]
    if not cases:
        raise NotMeasured(
            "no students of a published pair with the published recipe: 240 epochs of SGD"
        )
    findings = [
        over_seeds(
            require_complete(case["rows"], "last_accuracy")["last_accuracy"] - case["published"],
            f"worst of {len(cases)} published accuracies: {case['what']}",
            simultaneous(len(cases)),
        )
        for case in cases
    ]
    margin = evidence.margins.accuracy
    return worst(findings, (-margin, margin))


CLAIMS = (
    Claim("published-accuracy", "as stated", "arXiv 1910.10699",
          "students are as accurate as published ones of the same networks and recipe",
          "difference of test accuracies, measured less published",
          lambda margins: (-margins.accuracy, margins.accuracy), _replication),
)  # fmt: skip
