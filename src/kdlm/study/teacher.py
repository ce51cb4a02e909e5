"""A teacher in a config: one to be trained, or one that was trained elsewhere."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from kdlm.study.complaints import Location, refuse
from kdlm.study.specs import Architecture, Initialisation, Name, Normalisation, Seed, Spec

__all__ = ["BROUGHT", "Teacher"]

BROUGHT = "brought"
"""Value of the path key ``initialisation`` for a teacher that was trained elsewhere."""


class Teacher(Spec):
    """One teacher.

    Students name it ``<architecture>-<initialisation>-<recipe>``, or, where its weights were
    brought along, ``<architecture>-brought-<known_as>``.
    """

    architecture: Architecture = Field(description="a name of kdlm.study.names.ARCHITECTURES")
    initialisation: Initialisation | None = Field(
        default=None, description="how the weights are drawn"
    )
    recipe: Name | None = Field(default=None, description="a name under recipes")
    seed: Seed = Field(default=0, description="of weights, batch order and augmentation")
    weights: str | None = Field(
        default=None,
        description="file of a trained teacher, in the place of initialisation and recipe: "
        "safetensors, or a torch checkpoint of tensors alone",
    )
    known_as: Name = Field(default="weights", description="a name for brought weights")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="of the file of weights; filled in where it is left out"
    )
    accuracy: float | None = Field(
        default=None, ge=0, le=1, description="test accuracy that brought weights should have"
    )
    normalisation: Normalisation | None = Field(
        default=None, description="by which brought weights were trained; checked"
    )

    @model_validator(mode="before")
    @classmethod
    def _with_checksum(cls, data: Any) -> Any:
        """Fill in the checksum of a file of weights, which is part of the job's spec."""
        if not isinstance(data, Mapping) or not isinstance(data.get("weights"), str):
            return data
        path = Path(data["weights"])
        if path.is_fifo() or path.is_char_device() or path.is_block_device():
            refuse(cls, [(("weights",), f"{path} is no file but a pipe or a device")])
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError) as error:
            # A study that was resolved elsewhere has the checksum already, and its results can be
            # used without the file.
            if data.get("sha256"):
                return data
            why = error.strerror if isinstance(error, OSError) else "no name of a file"
            refuse(cls, [(("weights",), f"{path} cannot be read ({why})")])
        if data.get("sha256") not in (None, found):
            text = f"it is not the SHA-256 of {path}, which is {found}"
            refuse(cls, [(("sha256",), text)])
        return {**data, "sha256": found}

    @model_validator(mode="after")
    def _trained_or_brought(self) -> "Teacher":
        trained = ("initialisation", "recipe")
        brought = ("sha256", "accuracy", "normalisation")
        problems: list[tuple[Location, str]] = []
        if self.weights is not None:
            problems += [
                ((key,), "brought weights have none; leave it out")
                for key in trained
                if getattr(self, key)
            ]
        else:
            problems += [
                ((key,), "this key is needed, or weights in its place")
                for key in trained
                if not getattr(self, key)
            ]
            problems += [
                ((key,), "it is for teachers with weights of their own; leave it out")
                for key in brought
                if getattr(self, key) is not None
            ]
        refuse(type(self), problems)
        return self

    @property
    def keys(self) -> dict[str, str]:
        """The path keys of this teacher without its seed."""
        return {
            "architecture": self.architecture,
            "initialisation": self.initialisation or BROUGHT,
            "recipe": self.recipe or self.known_as,
        }

    @property
    def name(self) -> str:
        """The name by which arms refer to this teacher."""
        return "-".join(self.keys.values())
