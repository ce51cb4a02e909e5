"""The commands ``kdlm claims`` and ``kdlm findings``: the study's answer, and its claims."""

import argparse
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlm.arguments import to_path
from kdlm.errors import InputError
from kdlm.study.schemas import SCHEMAS
from kdlm.tabular import add_format, as_text, console
from kdlm.terminal import printable

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, RenderableType
    from rich.text import Text

    from kdlm.claims.shown import ShownClaim

__all__ = ["add_claims", "add_findings", "read_claims"]

_VERDICTS = {"supported": "green", "refuted": "red", "inconclusive": "yellow"}

_LEGEND = (
    ("no interval", "the value is the worst of n cases, and one case refutes the claim"),
    ("allowed", "the margin, fixed in the config before the run"),
    ("n", "independent units behind the number: seeds, teachers, students or sets of logits"),
    (
        "distance between two seeds",
        "how far apart the same training ends with another seed, in centred test logits or weights",
    ),
)

_PROSE = 110
"""Longest line of a sentence; a longer one is hard to read."""

AddCommand = Callable[[str, object, str], argparse.ArgumentParser]


def add_claims(folder_command: AddCommand) -> None:
    """Add the command ``claims``."""
    claims = folder_command("claims", _claims, "print the answer and the claims of a study")
    claims.add_argument(
        "--id",
        action="append",
        metavar="KEY",
        help="print this claim alone and in full, or all that an id stands for; can be repeated",
    )
    claims.add_argument(
        "--verdict",
        action="append",
        choices=tuple(_VERDICTS),
        help="print the claims of this verdict alone; can be repeated",
    )
    add_format(claims)


def add_findings(folder_command: AddCommand) -> None:
    """Add the command ``findings``."""
    findings = folder_command(
        "findings", _findings, "print the study's answer in ten sentences, as Markdown"
    )
    findings.add_argument(
        "--into",
        type=to_path,
        metavar="FILE",
        help="instead, renew the generated parts of a Markdown file, as README.md",
    )


def read_claims(folder: Path) -> "pd.DataFrame":
    """Read table ``claims`` of the study in ``folder``.

    Raises:
        InputError: it is missing or damaged.

    """
    from kdlm.storage.parquet import read_table  # noqa: PLC0415

    path = folder / "claims.parquet"
    if not path.is_file():
        raise InputError(f"{path} is missing: run snakemake first, or name a study's folder")
    return read_table(path, "claims")


def _findings(arguments: argparse.Namespace) -> None:
    from kdlm.claims.findings import findings, renew  # noqa: PLC0415
    from kdlm.storage.parquet import read_table  # noqa: PLC0415

    claims = read_claims(arguments.folder)
    if arguments.into is None:
        print(findings(claims, printable(arguments.folder)), end="")
        return
    runs = read_table(arguments.folder / "tables/runs.parquet", "runs")
    renew(arguments.into, claims, runs)


def _claims(arguments: argparse.Namespace) -> None:
    from kdlm.claims.shown import shown_claims  # noqa: PLC0415

    claims = read_claims(arguments.folder)
    shown = shown_claims(claims)
    chosen = _chosen(shown, arguments.id, arguments.verdict)
    if arguments.format != "table":
        rows = claims.to_dict("records")
        print(
            _exported(arguments.format, [(one, rows[shown.index(one)]) for one in chosen]), end=""
        )
    elif arguments.id:
        _print_in_full(chosen)
    else:
        if not arguments.verdict:
            _print_answers(claims)
        _print_table(chosen)
        if not arguments.verdict:
            _print_rest(arguments.folder)


def _chosen(
    shown: Sequence["ShownClaim"], keys: list[str] | None, verdicts: list[str] | None
) -> list["ShownClaim"]:
    """Return the claims that the options ask for.

    Raises:
        InputError: there is no claim of such a key or id.

    """
    known = {one.key for one in shown} | {one.id for one in shown}
    if unknown := [key for key in keys or () if key not in known]:
        names = ", ".join(one.key for one in shown)
        raise InputError(f"--id {unknown[0]}: no such claim; known: {names}")
    return [
        one
        for one in shown
        if (not keys or one.key in keys or one.id in keys)
        and (not verdicts or one.verdict in verdicts)
    ]


def _exported(form: str, rows: list[tuple["ShownClaim", dict[str, Any]]]) -> str:
    """Return claims as CSV, JSON or Markdown.

    CSV and JSON have the columns of table ``claims`` with its numbers, and beside them the words.
    """
    if form == "markdown":
        return as_text(
            form,
            ["claim", "statement", "value", "interval", "allowed", "n", "verdict", "reason"],
            [
                [f"`{one.key}`", one.statement, one.value, one.interval, one.margin, one.n,
                 one.verdict, one.reason]
                for one, _ in rows
            ],
        )  # fmt: skip
    columns = list(SCHEMAS["claims"])
    words = {
        "key": "key",
        "reason": "reason",
        "images": "images",
        "unit": "unit",
        "value_in_words": "value",
        "interval_in_words": "interval",
        "margin_in_words": "margin",
    }
    return as_text(
        form,
        [*columns, *words],
        [
            [*map(row.get, columns), *(getattr(one, name) for name in words.values())]
            for one, row in rows
        ],
    )


def _text(text: str, style: str = "") -> "Text":
    from rich.text import Text  # noqa: PLC0415

    return Text(printable(text), style)


def _print_answers(claims: "pd.DataFrame") -> None:
    from kdlm.claims.answer import answers  # noqa: PLC0415

    out = console()
    for answer in answers(claims):
        out.print(_text(answer.question, "bold"))
        _print_indented(out, answer.text)
        _print_indented(out, f"claims: {', '.join(answer.claims)}", "dim")
        out.print()


def _print_indented(out: "Console", text: str, style: str = "") -> None:
    lines = textwrap.wrap(
        printable(text),
        min(max(out.width, 30), _PROSE),
        initial_indent="  ",
        subsequent_indent="  ",
        # 3.9e-14 is one word
        break_on_hyphens=False,
    )
    for line in lines:
        out.print(_text(line, style))


def _print_table(shown: Sequence["ShownClaim"]) -> None:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("claim", ratio=10, overflow="fold")
    table.add_column("value (90% interval)", ratio=7, overflow="fold")
    table.add_column("allowed", ratio=5, overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for one in shown:
        interval = "" if one.interval in ("exact", "-") else f"({one.interval})"
        table.add_row(
            _claim(one),
            _lines([one.value, interval]),
            _text(one.margin),
            str(one.n),
            _text(one.verdict, _VERDICTS.get(one.verdict, "")),
        )
    out = console()
    out.print(table)
    for term, meaning in _LEGEND:
        out.print(_text(f"{term}: {meaning}", "dim"))


def _lines(texts: Sequence[str]) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    return Text("\n").join(_text(text) for text in texts if text)


def _claim(one: "ShownClaim") -> "RenderableType":
    """Return the cell of a claim: its key, its statement, and why it is inconclusive."""
    from rich.console import Group  # noqa: PLC0415
    from rich.padding import Padding  # noqa: PLC0415

    parts = [_text(one.statement)]
    if one.reason:
        parts.append(_text(f"why: {one.reason}", "yellow"))
    return Group(_text(one.key, "bold"), *(Padding(part, (0, 0, 0, 2)) for part in parts))


def _print_in_full(shown: Sequence["ShownClaim"]) -> None:
    """Print every field of the claims, a paragraph each."""
    out = console()
    for one in shown:
        heading = _text(f"{one.key}: ", "bold")
        heading.append_text(_text(one.verdict, _VERDICTS.get(one.verdict, "")))
        out.print(heading)
        for name, text in (
            ("claim", f"{one.statement} ({one.form})"),
            ("statistic", one.statistic),
            ("value", one.value),
            ("interval", one.interval),
            ("allowed", one.margin),
            ("n", str(one.n)),
            ("inconclusive", one.reason),
            ("measured on", ": ".join(part for part in (one.images, one.measured_on) if part)),
        ):
            if text:
                _print_indented(out, f"{name}: {text}")
        out.print()


def _print_rest(folder: Path) -> None:
    """Print the accuracies, what was not finished, and where the figures are."""
    from kdlm.storage.parquet import read_table  # noqa: PLC0415
    from kdlm.tables.accuracies import accuracies  # noqa: PLC0415

    out = console()
    runs = read_table(folder / "tables/runs.parquet", "runs")
    if found := accuracies(runs):
        out.print()
        out.print(_text(f"Test accuracy of {found[0].students}, seeds: {found[0].n}", "bold"))
        for one in found:
            out.print(_text(f"  {one.words()}"))
    lost = runs[runs["status"] != "finished"]
    if len(lost):
        out.print(_text(f"{len(lost)} of {len(runs)} networks are not finished:"))
    for status, reason in zip(lost["status"], lost["reason"], strict=True):
        out.print(_text(f"  {status}: {reason}"))
    figures = folder / "figures"
    if figures.is_dir():
        out.print(_text(f"Figures: {figures}/"))
