"""The page that answers the study's question, made from its tables, claims and figures.

``report.html`` is one file that opens from disk: nothing in it is fetched from elsewhere, and its
policy forbids a browser to do so. Equal results make equal bytes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd
from markupsafe import Markup

from kdlm.claims.answer import Answer, answers
from kdlm.claims.shown import ShownClaim, shown_claims
from kdlm.report import curves, files
from kdlm.report.drawings import WIDTH, draw_accuracies, draw_interval
from kdlm.storage.files import replacing
from kdlm.storage.parquet import read_table
from kdlm.study.schemas import table_path
from kdlm.tables.accuracies import LEVEL, accuracies
from kdlm.terminal import printable

if TYPE_CHECKING:
    from kdlm.study.config import Study

__all__ = ["OUTPUTS", "write_report"]

OUTPUTS = ("report.html", "answer.txt")
"""The files that `write_report` writes into a study's folder."""

_MOST_LOST = 100
"""Largest number of unfinished networks that are listed."""


def write_report(study: "Study", folder: Path) -> None:
    """Write ``report.html`` and ``answer.txt`` of the study in ``folder``, from what is there.

    Of a study that is not finished the page says what is missing. ``answer.txt`` has the answers
    only, as plain text.

    Raises:
        InputError: a file of the study is damaged, or an output cannot be written.

    """
    claims = _read(folder / "claims.parquet", "claims")
    found = [] if claims is None else answers(claims)
    page = _page(study, folder, claims, found)
    for name, text in zip(OUTPUTS, (page, _plain(found)), strict=True):
        with replacing(folder / name) as temporary:
            temporary.write_bytes(text.encode())


def _read(path: Path, name: str) -> pd.DataFrame | None:
    """Read a table; None if its file does not exist."""
    return read_table(path, name) if path.is_file() else None


def _plain(found: list[Answer]) -> str:
    """Return the answers as plain text: two lines for each question, however long."""
    if not found:
        return "No claim has been decided yet.\n"
    return "\n".join(
        f"{printable(answer.question)} [{printable(answer.verdict)}]\n{printable(answer.text)}\n"
        for answer in found
    )


def _page(study: "Study", folder: Path, claims: pd.DataFrame | None, found: list[Answer]) -> str:
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["places"] = lambda number: f"{number:.1f}"
    environment.filters["draw_interval"] = draw_interval
    runs = _read(folder / table_path("runs"), "runs")
    histories = _read(folder / table_path("histories"), "histories")
    shown = [] if claims is None else shown_claims(claims)
    pictures = files.pictures(folder)
    present, missing = files.sources(folder)
    leading = pictures.pop(files.LEADING, None)
    comparison = None
    if runs is not None and histories is not None and len(runs):
        comparison = curves.compare(runs, histories)
    return environment.get_template("page.html").render(
        study=study,
        place=f"results/{study.study}",
        style=_text(here / "style.css"),
        script=_text(here / "page.js"),
        library="" if comparison is None else _library(),
        answers=found,
        deciding=_deciding(found, shown),
        claims=shown,
        accuracies=None if runs is None else draw_accuracies(accuracies(runs)),
        level=LEVEL,
        leading=leading,
        pictures=list(pictures.values()),
        comparison=comparison,
        columns=curves.COLUMNS,
        menus=curves.MENUS,
        measures=curves.MEASURES,
        most_epochs=curves.MOST_EPOCHS,
        networks=None if runs is None else len(runs),
        **_lost(runs),
        sources=present,
        missing=missing,
        margins=_margins(study),
        width=WIDTH,
    )


def _text(path: Path) -> Markup:
    """Return the text of a file of this package, which the template does not escape."""
    return Markup(path.read_text(encoding="utf-8"))  # noqa: S704


def _library() -> Markup:
    """Return the JavaScript that draws Vega-Lite charts, from the package vl-convert."""
    import vl_convert  # noqa: PLC0415

    text = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed")
    return Markup(text)  # noqa: S704


def _deciding(found: list[Answer], shown: list[ShownClaim]) -> list[tuple[str, list[ShownClaim]]]:
    """Return each answer's question and the claims behind it, without those of earlier answers."""
    left = {claim.key: claim for claim in shown}
    groups = [
        (answer.question, [left.pop(key) for key in answer.claims if key in left])
        for answer in found
    ]
    return [group for group in groups if group[1]]


def _lost(runs: pd.DataFrame | None) -> dict[str, Any]:
    """Return how many networks are not finished, and what is said about the first of them."""
    if runs is None:
        return {"lost": 0, "lost_rows": []}
    rows = runs[runs["status"] != "finished"]
    told = zip(rows["status"], rows["reason"].fillna(""), strict=True)
    return {"lost": len(rows), "lost_rows": list(told)[:_MOST_LOST]}


def _margins(study: "Study") -> list[tuple[str, str, str]]:
    """Return name, value and meaning of every margin of the study."""
    fields = type(study.margins).model_fields
    values = study.margins.model_dump(mode="json")
    return [(name, str(values[name]), field.description or "") for name, field in fields.items()]
