"""Whether the parts of a config agree: what one part names, another part has to have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from kdlm.study import names
from kdlm.study.complaints import Location, nearest
from kdlm.study.parts import MOST_JOBS, Arm, DatasetConfig, InitMeans
from kdlm.study.specs import Recipe, Spec
from kdlm.study.teacher import BROUGHT, Teacher

__all__ = ["Parts", "Problems", "valid_parts"]

SpecT = TypeVar("SpecT", bound=Spec)

Problems = Iterator[tuple[Location, str]]
"""Location and text of problems."""


def _small(where: Location, architecture: str, dataset: DatasetConfig) -> Problems:
    """Yield the problem of images that a network halves to nothing.

    Args:
        where: the location of the network's name.
        architecture: the network.
        dataset: where its images come from.

    """
    least = names.ARCHITECTURES[architecture].minimum_side
    if dataset.side < least:
        text = (
            f"{architecture} halves images to nothing unless they have {least} pixels a side; "
            f"those of {dataset.name} have {dataset.side}"
        )
        yield where, text


@dataclass
class Parts:
    """The parts of a config that other parts refer to; None for a part that is not valid itself.

    A problem between two parts is found although a third part has a problem of its own.
    """

    dataset: DatasetConfig | None
    recipes: dict[str, Recipe | None]
    teachers: list[Teacher | None]
    arms: list[Arm | None]
    init_means: InitMeans | None

    def problems(self) -> Problems:
        """Yield the location and text of every problem between the parts."""
        yield from self._of_teachers()
        for number, arm in enumerate(self.arms):
            if arm is not None:
                yield from self._of_arm(("arms", number), arm)
        if (students := sum(arm.students for arm in self.arms if arm)) > MOST_JOBS:
            yield ("arms",), f"they ask for {students} students; at most {MOST_JOBS}"
        if self.dataset is not None:
            images = self.dataset.training_images or 0
            for name, recipe in self.recipes.items():
                if recipe is not None and (text := recipe.last_image(images)):
                    yield ("recipes", name, "batch_size"), text
        yield from self._of_init_means()

    def _recipe(self, where: Location, recipe: str) -> Problems:
        if self.recipes and recipe not in self.recipes:
            near = nearest(recipe, self.recipes)
            hint = f"did you mean {near!r}? " if near else ""
            text = f"unknown recipe {recipe!r}; {hint}known: {', '.join(self.recipes)}"
            yield (*where, "recipe"), text

    def _of_teachers(self) -> Problems:
        seen = set()
        for number, teacher in enumerate(self.teachers):
            if teacher is None:
                continue
            where = ("teachers", number)
            if teacher.recipe is not None:
                yield from self._recipe(where, teacher.recipe)
            if (key := (teacher.name, teacher.seed)) in seen:
                yield where, f"{teacher.name!r} with seed {teacher.seed} is given twice"
            seen.add(key)
            if self.dataset is not None:
                place = (*where, "architecture")
                yield from _small(place, teacher.architecture, self.dataset)

    def _of_arm(self, where: Location, arm: Arm) -> Problems:
        yield from self._recipe(where, arm.recipe)
        teachers = {
            (teacher.name, teacher.seed): None for teacher in self.teachers if teacher is not None
        }
        if None not in self.teachers and (arm.teacher, arm.teacher_seed) not in teachers:
            trained = ", ".join(f"{name} with seed {seed}" for name, seed in teachers)
            near = nearest(arm.teacher, {name for name, _ in teachers} - {arm.teacher})
            hint = f"did you mean {near!r}? " if near else ""
            text = (
                f"{arm.teacher!r} with seed {arm.teacher_seed} is not trained in this study; "
                f"{hint}trained: {trained}"
            )
            yield (*where, "teacher"), text
        if f"-{BROUGHT}-" in arm.teacher and "untrained-teacher" in arm.means:
            text = f"untrained-teacher is not known of {arm.teacher!r}, which was trained elsewhere"
            yield (*where, "means"), text
        if (recipe := self.recipes.get(arm.recipe)) is not None:
            for rung in [e for e in arm.relative_perturbations if 0 < e < recipe.rounding][:1]:
                text = (
                    f"{rung:g} is below the precision of recipe {arm.recipe!r}, whose weights "
                    f"resolve {recipe.rounding:.1e}"
                )
                yield (*where, "relative_perturbations"), text
        if self.dataset is not None:
            yield from _small((*where, "architecture"), arm.architecture, self.dataset)

    def _of_init_means(self) -> Problems:
        if self.init_means is None:
            return
        other = self.init_means.dataset
        for number, architecture in enumerate(self.init_means.architectures):
            yield from _small(("init_means", "architectures", number), architecture, other)
        if self.dataset is not None and other.name == self.dataset.name and other != self.dataset:
            text = (
                f"{other.name} is also the study's dataset, but with other settings; they must be "
                f"the same"
            )
            yield ("init_means", "dataset"), text


def _valid(kind: type[SpecT], value: Any) -> SpecT | None:
    """Return the part of a config that ``value`` describes; None if it has a problem itself."""
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None


def valid_parts(config: Mapping[str, Any]) -> Parts:
    """Return the parts of a config that has a problem, as far as they are valid themselves."""
    named = config.get("recipes")
    teachers, arms = (
        value if isinstance(value := config.get(key), (list, tuple)) else None
        for key in ("teachers", "arms")
    )
    return Parts(
        _valid(DatasetConfig, config.get("dataset")),
        {str(name): _valid(Recipe, recipe) for name, recipe in named.items()}
        if isinstance(named, Mapping)
        else {},
        # without a list of teachers, nothing can be said about what refers to one
        [None] if teachers is None else [_valid(Teacher, one) for one in teachers],
        [_valid(Arm, one) for one in arms or ()],
        _valid(InitMeans, config.get("init_means")),
    )
