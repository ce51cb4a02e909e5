"""Where things are in a study's folder: Hive paths, which DuckDB, polars and pyarrow read."""

from collections.abc import Mapping
from pathlib import Path

__all__ = [
    "NETWORK_FILES",
    "TABLES",
    "hive",
    "init_means_directory",
    "student_directory",
    "teacher_directory",
    "teacher_of",
]

NETWORK_FILES = ("history.parquet", "logits.parquet", "model.safetensors", "run.json")
"""What each training leaves in its folder."""

TABLES = (
    "runs",
    "histories",
    "comparisons",
    "layer_means",
    "init_means",
    "gradient_limit",
    "identities",
)
"""What is gathered in tables/, each as a Parquet file."""


def hive(keys: Mapping[str, str]) -> str:
    """``key=value/key=value`` in the order of ``keys``."""
    return "/".join(f"{key}={value}" for key, value in keys.items())


def teacher_directory(keys: Mapping[str, str]) -> Path:
    """Folder of a teacher, in the study's folder."""
    return Path("teachers", hive(keys))


def student_directory(keys: Mapping[str, str]) -> Path:
    """Folder of a student, in the study's folder."""
    return Path("students", hive(keys))


def init_means_directory(keys: Mapping[str, str]) -> Path:
    """Folder of a shard of initialisation means, in the study's folder."""
    return Path("init_means", hive(keys))


def teacher_of(keys: Mapping[str, str]) -> dict[str, str]:
    """Path keys of the teacher of the student with path keys ``keys``."""
    architecture, recipe = keys["teacher"].split("-", 1)[0], keys["teacher"].rsplit("-", 1)[1]
    initialisation = keys["teacher"].removeprefix(f"{architecture}-").removesuffix(f"-{recipe}")
    return {
        "architecture": architecture,
        "initialisation": initialisation,
        "recipe": recipe,
        "seed": keys["teacher_seed"],
    }
