"""Rows of the made-up study for claims about whose mean c^t is, and about gaps of mean logits."""

from typing import Any

from tests.claims import world

UNTRAINED = {"means": "untrained-teacher"}


def comparisons(seed: int) -> list[dict[str, Any]]:
    """KD at T = inf beside LM, and beside (8), with the teacher's mean before its training."""
    kd = world.student("kd", world.INF, 0.0, seed)
    rows = [
        world.pair("objective", world.GROUP, kd,
                   world.student("lm", world.INF, 0.0, seed) | UNTRAINED, 0.5, 0.06, 0.03)
    ]  # fmt: skip
    for form, share in (("corrected", 0.4), ("printed", 2.0)):
        eight = world.student(f"regularised-lm-{form}", world.INF, 5.0, seed) | UNTRAINED
        rows.append(
            world.pair("objective", world.GROUP, kd | {"mean_gap": 5.0}, eight, share, 0.1, 0.02)
        )
    return rows


def histories(seed: int) -> list[dict[str, Any]]:
    """Starts of LM students at two gaps and at none imposed, and two epochs of Adam."""

    def row(group: dict[str, Any], **values: Any) -> dict[str, Any]:
        return {"role": "student", **group, **world.student("lm", world.INF, 0.0, seed),
                "status": "finished", "epoch": 0, "split": "initial", "logit_rms": 4.0,
                "mean_logit": 0.1, "logit_gradient_sum": 0.7} | values  # fmt: skip

    def started(gap: float) -> dict[str, Any]:
        energy = gap**2 / 2 + 0.03
        return {"gap": gap, "gap_rms": (2 * energy) ** 0.5, "gap_energy": energy,
                "gap_share": energy / (energy + 0.5)}  # fmt: skip

    adam = world.CENTRED | {"recipe": "adam"}
    return [
        *(row(world.GROUP, mean_gap=gap, **started(gap)) for gap in (0.0, 5.0)),
        row(world.GROUP, means="natural", **started(0.4)),
        row(adam, mean_logit_rms=1e-15, **started(0.0)),
        row(adam, mean_logit_rms=1.0, epoch=2, split="test"),
    ]
