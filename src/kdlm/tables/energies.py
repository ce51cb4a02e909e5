"""Table `energies`: the part of the loss of logits matching due to the gap, by arm and epoch."""

import pandas as pd

from kdlm.study.schemas import ENERGY_KEYS, SCHEMAS

__all__ = ["energies"]

_MEASURES = ("gap_energy", "gap_share", "gap_rms", "gap")


def energies(histories: pd.DataFrame) -> pd.DataFrame:
    """Return table ``energies``: the gap of the students of each arm, by epoch and split.

    For one sample, with the gap g = c^s − c^t of its mean logits, the loss of logits matching is
    L_LM = L_centred + ½g², where L_centred is the loss of centred logits matching, which is KD at
    T = ∞. The energy ½E[g²] is therefore the whole difference between LM and KD at T = ∞.

    Only finished students with unperturbed initial weights count. Students of one arm differ only
    in seed and teacher seed.

    Args:
        histories: table ``histories``.

    Returns:
        A row for each arm, epoch and split, in the order of ``histories``: the number of students,
        and mean and standard deviation over them; for the share also the smallest and the largest.
        A number is null where one of the students lacks it, and so is the sd of one student.

    """
    # where no student is left, not even the keys of students are
    histories = histories.reindex(columns=list(SCHEMAS["histories"]))
    students = histories[
        (histories["role"] == "student")
        & (histories["status"] == "finished")
        & (histories["perturbation"] == 0)
        & (histories["relative_perturbation"] == 0)
    ]
    groups = students.groupby(list(ENERGY_KEYS), sort=False)
    columns: dict[str, pd.Series] = {"n": groups.size()}
    for measure in _MEASURES:
        values = groups[measure]
        complete = values.count() == columns["n"]
        columns[f"{measure}_mean"] = values.mean().where(complete)
        columns[f"{measure}_sd"] = values.std().where(complete)
        if measure == "gap_share":
            columns["gap_share_min"] = values.min().where(complete)
            columns["gap_share_max"] = values.max().where(complete)
    return pd.DataFrame(columns).reset_index()[list(SCHEMAS["energies"])]
