"""The students of table `runs` that published accuracies can be held against."""

from collections.abc import Iterator

import pandas as pd

from kdlm import published

__all__ = ["DATASET", "published_rows"]

DATASET = "cifar100"
"""The dataset of the published accuracies."""


def published_rows(
    runs: pd.DataFrame,
) -> Iterator[tuple[tuple[str, str], str, float, pd.DataFrame]]:
    """Yield the published accuracies, with the students of ``runs`` to hold against each.

    The recipe of such students is told by its 240 epochs of SGD with a weight decay of 5e-4. KD has
    T = 4 and a tenth of CE, and no mean gap is imposed but the equal means of every arm.

    Args:
        runs: table ``runs``.

    Yields:
        Teacher and student, ``CE`` or ``KD``, the published accuracy, and rows of ``runs``.

    """
    recipe = (runs["role"] == "student") & (runs["epochs"] == 240) & (runs["optimizer"] == "sgd")
    recipe &= (runs["weight_decay"] == 5e-4) & (runs["mean_gap"] == 0)
    recipe &= (runs["perturbation"] == 0) & (runs["relative_perturbation"] == 0)
    recipe &= runs["initialisation"] == "he"
    kd = (runs["loss"] == "kd") & (runs["temperature"] == 4) & (runs["ce_weight"] == 0.1)
    for (teacher, student), accuracies in published.ACCURACIES.items():
        pair = recipe & (runs["architecture"] == student)
        pair &= runs["teacher"].str.startswith(f"{teacher}-", na=False)
        ce = pair & (runs["loss"] == "ce")
        # CE does not see the teacher, so the students of the pair's first teacher seed will do
        ce &= runs["teacher_seed"] == runs.loc[ce, "teacher_seed"].min()
        yield (teacher, student), "CE", accuracies.ce, runs[ce]
        yield (teacher, student), "KD", accuracies.kd, runs[pair & kd]
