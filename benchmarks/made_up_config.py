"""The config of a study of any size, with some students for every kind of claim."""

from typing import Any

__all__ = ["EPOCHS", "UNIT", "made_up"]

UNIT = 100
"""Students of each seed of the two teachers, in all arms together."""

EPOCHS = 3
"""Of each network."""

_STUDENT = {
    "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4,
    "schedule": {"name": "cosine"}, "epochs": EPOCHS, "batch_size": 64, "augment": True,
    "precision": "float64",
}  # fmt: skip
_RECIPES = {
    "student": _STUDENT,
    "conservation": _STUDENT | {"weight_decay": 0},
    "mixed": _STUDENT | {"ce_weight": 0.1},
}

_PLAIN = {"teacher": "resnet20-he-student", "architecture": "resnet8", "initialisation": "he",
          "recipe": "student"}  # fmt: skip
_INFINITE: dict[str, Any] = {"temperatures": ["inf"], "seeds": [0, 1]}
_ARMS: list[dict[str, Any]] = [
    {"losses": ["ce", "kd", "lm", "centred-lm"], "temperatures": [4, 1e4, "inf"],
     "seeds": list(range(10))},
    _INFINITE | {"losses": ["ce", "kd", "lm", "centred-lm", "regularised-lm-corrected",
                            "regularised-lm-printed", "l1-lm"], "mean_gaps": [5]},
    _INFINITE | {"losses": ["kd"], "relative_perturbations": [1e-10, 1e-6, 1e-2]},
    {"losses": ["lm"], "means": ["natural"], "seeds": [0, 1]},
    {"losses": ["lm"], "means": ["untrained-teacher"], "seeds": [0, 1]},
    {"losses": ["ce", "kd"], "temperatures": [4], "seeds": [0, 1], "recipe": "conservation"},
    _INFINITE | {"losses": ["kd", "lm"], "recipe": "mixed"},
    _INFINITE | {"losses": ["kd", "lm", "centred-lm", "regularised-lm-corrected"],
                 "teacher": "resnet20-he-centred-student", "initialisation": "he-centred"},
]  # fmt: skip
"""The arms of one seed of the teachers: as in the default study, every kind of claim has some."""


def made_up(students: int, seeds: int | None = None) -> dict[str, Any]:
    """Return the config of a study of about so many students.

    Args:
        students: number of students. It is reached by seeds of the teachers, `UNIT` students each.
        seeds: number of seeds of the students, of six losses of one teacher, in the place of all
            that; ``students`` is then ignored.

    """
    arms = [
        _PLAIN | arm | {"teacher_seed": number}
        for number in range(max(1, students // UNIT))
        for arm in _ARMS
    ]
    if seeds is not None:
        arms = [_PLAIN | _ARMS[0] | {"seeds": list(range(seeds))}]
    teachers = {
        (arm["initialisation"], arm.get("teacher_seed", 0)): {
            "architecture": "resnet20",
            "initialisation": arm["initialisation"],
            "recipe": "student",
            "seed": arm.get("teacher_seed", 0),
        }
        for arm in arms
    }
    return {
        "study": "made-up",
        "dataset": {"name": "digits"},
        "device": "cpu",
        "threads": 1,
        "recipes": _RECIPES,
        "teachers": list(teachers.values()),
        "arms": arms,
        "init_means": {
            "dataset": {"name": "photographs"}, "images": 4, "num_classes": 10,
            "architectures": ["resnet8"], "initialisations": ["he"],
            "batchnorm": ["train", "eval"], "seeds": 4, "shard_size": 4,
        },
        "theory": {"temperatures": [1, 100, 1000, 10000, "inf"], "samples": 20},
    }  # fmt: skip
