"""The page as a text: its bytes, its parts, what it says of a study that is not finished."""

import copy
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kdlm.claims.shown import shown_claims
from kdlm.cli import main
from kdlm.errors import InputError
from kdlm.figures import FIGURES
from kdlm.report import write_report
from kdlm.report.curves import MEASURES, MOST_EPOCHS, MOST_RUNS, compare
from kdlm.storage.parquet import read_table, write_table
from kdlm.study.schemas import TABLES, table_path
from tests.report.made_up import made_up, result


class Elements(HTMLParser):
    """All elements of a page: their names, attributes, and the headings' levels."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def values(self, *names: str) -> list[str]:
        return [value for name, value in self.attributes if name in names]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: dict[str, Any]) -> Path:
    """A made-up study of 30 students with its report."""
    folder = tmp_path_factory.mktemp("study") / "results/tiny"
    write_report(made_up(folder, tiny), folder)
    return folder


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_equal_results_make_equal_bytes(folder: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """In another folder, another process, and with other hashes of texts."""
    made_up(tmp_path / "elsewhere", tiny)
    run = subprocess.run(
        [sys.executable, "-m", "kdlm", "report", tmp_path / "elsewhere"],
        env=os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for name in ("report.html", "answer.txt"):
        assert (tmp_path / "elsewhere" / name).read_bytes() == (folder / name).read_bytes(), name


def test_three_hundred_networks_make_less_than_five_megabytes(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    """With histories of 240 epochs and figures larger than those of the default study."""
    study = made_up(tmp_path, tiny, networks=MOST_RUNS - 1, epochs=240, figure_bytes=200_000)
    write_report(study, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 5e6
    assert f"{MOST_RUNS} of {MOST_RUNS}" not in page
    assert "Curves have at most" in page
    elements = Elements(page)
    assert elements.tags.count("button") >= MOST_RUNS
    assert max(Counter(elements.values("id")).values()) == 1


def test_ids_are_unique_and_every_reference_has_its_target(text: str) -> None:
    elements = Elements(text)
    ids = Counter(elements.values("id"))
    assert max(ids.values()) == 1
    assert {value.removeprefix("#") for value in elements.values("href")} <= set(ids)
    assert set(elements.values("aria-labelledby")) <= set(ids)


def test_nothing_of_the_page_lies_elsewhere(text: str) -> None:
    elements = Elements(text)
    assert all(value.startswith(("data:", "#")) for value in elements.values("src", "href"))
    assert "default-src 'none'" in elements.values("content")[0]
    assert "@import" not in text.partition("</style>")[0]


def test_texts_of_the_study_stay_texts(text: str, folder: Path) -> None:
    tags = Counter(Elements(text).tags)
    assert tags["script"] == 2, "the chart's data, and the page's own script"
    assert "onerror=alert(1)&gt;" in text
    assert "<img src=x" not in text
    assert not [character for character in (folder / "answer.txt").read_text() if character < "\n"]


def test_headings_stand_in_order(text: str) -> None:
    levels = [int(tag[1]) for tag in Elements(text).tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_parts_stand_in_the_order_in_which_they_are_read(text: str) -> None:
    parts = ("answer", "verdicts", "figures", "check", "every-claim", "all-figures",
             "runs-section", "lost", "provenance")  # fmt: skip
    places = [text.index(f' id="{part}"') for part in parts]
    assert places == sorted(places)
    opened = [value for name, value in Elements(text).attributes if name == "open"]
    assert not opened, "what comes after the answer is collapsed"


def test_every_claim_is_there_and_every_deciding_one_with_its_command(
    text: str, folder: Path
) -> None:
    shown = shown_claims(read_table(folder / "claims.parquet", "claims"))
    every = text[text.index(' id="every-claim"') :]
    for claim in shown:
        assert f"<code>{claim.key}</code>" in every
    known = {claim.key for claim in shown}
    checked = re.findall(r'<span class="whole">--id ([^<]+)</span>', text)
    assert checked
    assert set(checked) <= known
    assert len(checked) == len(set(checked)), "each once"


def test_a_commands_key_is_one_that_kdlm_claims_knows(
    text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = re.findall(r'<span class="whole">--id ([^<]+)</span>', text)[0]
    assert main(["claims", str(folder), "--id", key]) == 0
    assert key.split(".")[0] in capsys.readouterr().out


def test_checksums_are_those_of_the_files(text: str, folder: Path) -> None:
    listed = re.findall(r"^(?:.*<pre>)?([0-9a-f]{64}  .+)$", text, re.MULTILINE)
    names = [line.split("  ")[1] for line in listed]
    assert len(names) == len(TABLES) + 2 + len(FIGURES)
    run = subprocess.run(
        ["sha256sum", "--check", "--strict"], cwd=folder, input="\n".join(listed) + "\n",
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("claims.parquet", "No claim has been decided yet"),
        ("tables/runs.parquet", "Tables <code>runs</code> and <code>histories</code> are not"),
        ("tables/histories.parquet", "Tables <code>runs</code> and <code>histories</code> are not"),
        ("figures/energy.svg", "The figure of the energies is not there"),
    ],
)
def test_a_study_that_is_not_finished_says_what_is_missing(
    tiny: dict[str, Any], tmp_path: Path, lost: str, said: str
) -> None:
    study = made_up(tmp_path, tiny)
    (tmp_path / lost).unlink()
    write_report(study, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "This study is not finished." in page
    assert said in page
    assert f"<li><code>{lost}</code></li>" in page


def test_of_a_study_that_has_only_begun_there_is_a_page(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    study = made_up(tmp_path, tiny)
    for path in [*tmp_path.rglob("*.parquet"), *tmp_path.rglob("*.svg")]:
        path.unlink()
    write_report(study, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{len(TABLES) + 1 + len(FIGURES)} of its files are not there" in page
    assert (tmp_path / "answer.txt").read_text() == "No claim has been decided yet.\n"


def test_networks_that_are_lost_are_listed_with_the_reason(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    study = made_up(tmp_path, tiny)
    runs = read_table(tmp_path / table_path("runs"), "runs")
    runs.loc[3, ["status", "reason"]] = ["diverged", "the loss was <inf> in epoch 2"]
    write_table("runs", runs, tmp_path / table_path("runs"))
    write_report(study, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1 of 31 networks have no result." in page
    assert "<li><b>diverged</b>: the loss was &lt;inf&gt; in epoch 2</li>" in page


@pytest.mark.parametrize("name", ["claims.parquet", "tables/runs.parquet"])
def test_a_damaged_table_is_named(tiny: dict[str, Any], tmp_path: Path, name: str) -> None:
    study = made_up(tmp_path, tiny)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(name)):
        write_report(study, tmp_path)
    assert not (tmp_path / "report.html").exists()


def _tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = ("runs", "histories")
    runs, histories = (read_table(folder / table_path(name), name) for name in names)
    return runs, histories


def _points(chart: dict[str, Any]) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(chart["datasets"]["curves"]))


def test_curves_are_the_histories(folder: Path) -> None:
    found = compare(*_tables(folder))
    points = _points(found.chart)
    assert len(points) == 31 * 4
    assert not found.thinned
    for point in points.to_dict("records"):
        split = "test" if point["epoch"] else "initial"
        told = result(point["run"], point["epoch"], split)
        if point["epoch"]:
            told["objective"] = result(point["run"], point["epoch"], "train")["objective"]
        for measure in MEASURES:
            assert point[measure] == pytest.approx(told[measure], rel=1e-3, abs=1e-9)


def test_a_menu_offers_what_the_networks_have(folder: Path) -> None:
    found = compare(*_tables(folder))
    for key, offered in found.options.items():
        assert set(offered) == {row[key] for row in found.rows}
        assert found.chosen[key] in ("", *offered)
    networks = found.chart["datasets"]["networks"]
    assert [network["run"] for network in networks] == list(range(len(found.rows)))


def test_long_trainings_keep_the_first_and_the_last_epoch(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    made_up(tmp_path, tiny, networks=4, epochs=240)
    found = compare(*_tables(tmp_path))
    epochs = _points(found.chart).groupby("run")["epoch"]
    assert found.thinned
    assert set(epochs.min()) == {0}
    assert set(epochs.max()) == {240}
    assert epochs.size().max() <= MOST_EPOCHS + 1


def test_of_many_networks_the_first_seeds_of_every_kind_are_shown_and_it_is_said(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    study = made_up(tmp_path, copy.deepcopy(tiny), networks=400)
    found = compare(*_tables(tmp_path))
    assert len(found.rows) == MOST_RUNS
    assert found.total == 401
    kinds = Counter((row["loss"], row["temperature"]) for row in found.rows[1:])
    assert len(kinds) == 5
    assert max(kinds.values()) - min(kinds.values()) <= 1
    write_report(study, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{MOST_RUNS} of 401 networks are shown" in page


def test_the_charts_data_are_json_whatever_the_names(tiny: dict[str, Any], tmp_path: Path) -> None:
    study = made_up(tmp_path, tiny)
    runs, histories = _tables(tmp_path)
    for name, table in (("runs", runs), ("histories", histories)):
        table["teacher"] = table["teacher"].where(table["teacher"].isna(), "</script><b>")
        write_table(name, table, tmp_path / table_path(name))
    write_report(study, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    data = page.split('<script id="chart-data" type="application/json">')[1].split("</script>")[0]
    networks = json.loads(data)["datasets"]["networks"]
    assert any("</script><b>" in network["students"] for network in networks)
