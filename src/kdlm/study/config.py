"""Reading and validating the study's config. Imports neither torch nor pyarrow.

`kdlm.study.jobs` expands a config into the jobs that it asks for.

The models below, and those of the modules that it is made of, are the only description of the keys.
``python -m kdlm schema`` generates workflow/schemas/config.schema.yaml from them, and a test
compares the two.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from kdlm.errors import InputError
from kdlm.study.agreement import Parts, valid_parts
from kdlm.study.complaints import complaints, dotted, refuse
from kdlm.study.margins import Margins
from kdlm.study.parts import Arm, DatasetConfig, InitMeans, Theory, some
from kdlm.study.repeated import load_json, refuse_repeated_keys
from kdlm.study.specs import Name, Recipe, Spec, Threads
from kdlm.study.teacher import Teacher
from kdlm.study.tolerances import TOLERANCES, Tolerances

if TYPE_CHECKING:
    import yaml

__all__ = [
    "Arm",
    "DatasetConfig",
    "InitMeans",
    "Margins",
    "Study",
    "Teacher",
    "Theory",
    "parse",
    "read_config",
    "read_study",
    "schema",
]

_MOST_BYTES = 100_000_000
"""Largest size of a resolved config."""


class Study(Spec):
    """A whole study."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)] = Field(
        description="name of the folder under results/"
    )
    dataset: DatasetConfig = Field(description="what teachers and students are trained on")
    device: Literal["auto", "cpu", "cuda"] = Field(description="where networks are trained")
    threads: Threads = Field(description="CPU threads a training job; decides the last bits")
    answers: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="whether one job writes a teacher's logits for the views of a seed and its "
        "students read them, to the same bits; auto: where two or more students share them",
    )
    recipes: dict[Name, Recipe] = some("named ways to train")
    teachers: tuple[Teacher, ...] = some("networks to learn from")
    arms: tuple[Arm, ...] = some("students")
    init_means: InitMeans = Field(description="mean logits at initialisation")
    theory: Theory = Field(description="the gradient's limit and the identities")
    margins: Margins = Field(default=Margins(), description="what counts as equal")
    tolerances: Tolerances = Field(
        default=TOLERANCES,
        description="by column, how far a rerun on another machine may be from an archived run",
    )

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "Study":
        parts = Parts(
            self.dataset, {**self.recipes}, [*self.teachers], [*self.arms], self.init_means
        )
        refuse(type(self), parts.problems())
        return self


def parse(config: Any, source: str = "config") -> Study:
    """Return the study of a config, which must be a mapping.

    Args:
        config: the config, as YAML or JSON was read.
        source: where the config comes from, such as the name of its file, for messages.

    Raises:
        InputError: the config is wrong; it has a line for each problem, which names the key.

    """
    if not isinstance(config, Mapping):
        raise InputError(f"{source}: a config is a mapping, with lines such as `study: name`")
    try:
        return Study.model_validate(dict(config))
    except ValidationError as error:
        problems = complaints(error, Study)
        # problems between two parts, which pydantic does not look for if a part has a problem
        for where, text in valid_parts(config).problems():
            if (line := f"{dotted(where)}: {text}") not in problems:
                problems.append(line)
        raise InputError(*(f"{source}: {problem}" for problem in problems)) from None


def read_study(folder: Path) -> Study:
    """Return the study in ``folder``, read from its resolved config ``study.json``.

    Raises:
        InputError: the file is missing, is not JSON, or holds no config of a study.

    """
    path = folder / "study.json"
    try:
        return parse(load_json(_text(path)), "the resolved config")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path} is missing: {folder} is not the folder of a study") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}; delete it, run snakemake again") from None


def read_config(path: Path) -> Study:
    """Return the study of the config file ``path``, in YAML or JSON.

    Raises:
        InputError: the file cannot be read, or its config is wrong; one line for each problem names
            file and key.

    """
    import yaml  # noqa: PLC0415

    try:
        # reading what is not a regular file might never end
        text = _text(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    refuse_repeated_keys(path)
    try:
        loaded = yaml.safe_load(text)
    except RecursionError:
        raise InputError(f"{path}: not YAML that can be read (nested too deeply)") from None
    except yaml.MarkedYAMLError as error:
        raise InputError(f"{path}{_line(error)}: not YAML: {_why(error)}") from None
    except (yaml.YAMLError, ValueError) as error:
        # a ValueError for a date that does not exist, such as 2024-13-01
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if loaded is None:
        raise InputError(f"{path}: the file is empty; config.yaml is an example of a config")
    return parse(loaded, str(path))


def _line(error: "yaml.MarkedYAMLError") -> str:
    return f", line {error.problem_mark.line + 1}" if error.problem_mark else ""


def _why(error: "yaml.MarkedYAMLError") -> str:
    """Return what is wrong at the marked place of a text that is not YAML."""
    why = " ".join(str(error.problem).split())
    if "'\\t'" in why:
        return "a tab stands where only spaces can; indent by spaces"
    return f"{why}; a bracket, a quote or a colon before may be the cause"


def _text(path: Path) -> str:
    """Return the text of a config file.

    Raises:
        InputError: the path is not a regular file, or the file is too large or not UTF-8.
        OSError: the file is missing or cannot be read.

    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
        raise InputError(f"no config (no file, or {found.st_size:,} bytes of one)")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text") from None


def schema() -> dict[str, Any]:
    """Return the JSON schema of a config."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Study.model_json_schema()
