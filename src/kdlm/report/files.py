"""The files that a report is made from: their checksums, and the figures among them."""

import base64
import hashlib
import html
import re
from dataclasses import dataclass
from pathlib import Path

from kdlm.figures import FIGURES
from kdlm.storage.files import reading
from kdlm.study.schemas import TABLES, table_path

__all__ = ["LEADING", "READS", "Picture", "Source", "pictures", "sources"]

READS = ("runs", "histories")
"""Tables that a report is made from, besides table ``claims``."""

LEADING = "energy"
"""The figure that stands at the top of the page."""

_LOOK_FOR = {
    "accuracy": "Compare KD's points at high T with the level lines of LM and of centred LM. A "
    "difference smaller than the error bars is no larger than what another seed makes.",
    "distances": "Read the columns separately: on the left, against centred LM, look where the "
    "curves fall towards 0 as T grows; on the right, against LM, whether they do. In the shaded "
    "band every distance is as large as a tiny jitter of the initial weights makes it, so heights "
    "cannot be compared there.",
    "energy": "The height is what separates LM from KD at T = ∞: the share of LM's loss that is "
    "due to g, the difference of the two mean logits of an image. Compare it with the dotted "
    "margin, below which the two losses count as one; then compare the initialisations. he makes "
    "the means equal on average only, he-centred makes each image's mean zero.",
    "gradient_limit": "The corrected form of (7) should fall with slope −1 as T grows; a form that "
    "levels off is not the limit.",
    "init_means": "Each point should cover zero if the mean logit of an untrained network is zero "
    "in expectation; the four published values are drawn beside them.",
    "routes": "Follow an arrow from KD at T = ∞ to the right: the text on it has the condition of "
    "the route, the gap that was measured, and the verdict.",
    "training_means": "Upper row: a line that rises shows that mean logits leave their initial "
    "values. Lower row: a line at rounding error shows that the sums over classes do not.",
}
"""By a figure's name, what a reader should look for; nothing that depends on the results."""


@dataclass(frozen=True)
class Picture:
    """A figure of the study, to be put into the page."""

    name: str
    title: str
    look_for: str
    """What a reader should look for; empty for a figure that this module does not know."""
    description: str
    """How the figure is drawn, from the SVG's ``<desc>``; empty if it has none."""
    data: str
    """The SVG as a data URI. A browser runs no script of it and fetches nothing for it."""


def pictures(folder: Path) -> dict[str, Picture]:
    """Return the figures of the study in ``folder`` by name, without those that are missing.

    Raises:
        InputError: a figure cannot be read.

    """
    found = {}
    for name in FIGURES:
        path = folder / f"figures/{name}.svg"
        if not path.is_file():
            continue
        with reading(path):
            content = path.read_bytes()
        found[name] = Picture(
            name,
            name.replace("_", " "),
            _LOOK_FOR.get(name, ""),
            _described(content.decode(errors="replace")),
            f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}",
        )
    return found


def _described(svg: str) -> str:
    """Return the text of the element ``desc`` at the beginning of an SVG; empty if it has none."""
    found = re.search(r"<desc\b[^>]*>([^<]*)</desc>", svg[:10_000])
    return html.unescape(" ".join(found[1].split())) if found else ""


@dataclass(frozen=True)
class Source:
    """A file of the study, with what identifies its content."""

    name: str
    """Its path in the study's folder."""
    size: int
    sha256: str


def sources(folder: Path) -> tuple[list[Source], list[str]]:
    """Return the config, tables, claims and figures of the study that exist, and names of the rest.

    Raises:
        InputError: a file cannot be read.

    """
    names = ["study.json", "claims.parquet", *(table_path(name).as_posix() for name in TABLES)]
    names += [f"figures/{name}.svg" for name in FIGURES]
    found, missing = [], []
    for name in sorted(names):
        path = folder / name
        if not path.is_file():
            missing.append(name)
            continue
        with reading(path):
            content = path.read_bytes()
        found.append(Source(name, len(content), hashlib.sha256(content).hexdigest()))
    return found, missing
