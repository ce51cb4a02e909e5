"""The page in a browser: it asks for nothing, and its table and curves do what they say."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdlm.report import write_report
from tests.report.made_up import made_up

sync = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here; tests/report/install.sh installs it"
)
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 300_000
"""Milliseconds for a step: other programs may use the machine."""

OPEN_ALL = "document.querySelectorAll('details').forEach((part) => { part.open = true; })"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tiny: dict[str, Any]) -> str:
    """The address of the page of a made-up study, on disk."""
    folder = tmp_path_factory.mktemp("a study ü")
    write_report(made_up(folder, tiny), folder)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=OPTIONS, timeout=PATIENCE
        )
        yield opened
        opened.close()


class Visit:
    """An open page with what it complains of and asks for."""

    def __init__(
        self, browser: Any, address: str, width: int = 1280, scheme: str = "light"
    ) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        context.set_default_timeout(PATIENCE)
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: self.requests.append(asked.url))
        self.page.goto(address)
        self.page.wait_for_selector("#chart[data-drawn]", state="attached")
        self.page.evaluate(OPEN_ALL)

    def column(self, title: str) -> list[str]:
        """The texts of a column of the table, in its order, of the rows that are shown."""
        texts: list[str] = self.page.evaluate(
            """(title) => {
              const table = document.getElementById("runs");
              const column = [...table.tHead.rows[0].cells].findIndex(
                (cell) => cell.textContent === title);
              return [...table.tBodies[0].rows].filter((row) => !row.hidden)
                .map((row) => row.cells[column].textContent);
            }""",
            title,
        )
        return texts

    def curves(self) -> int:
        return int(self.page.locator("#chart .mark-line path[d]").count())

    def choose(self, menu: str, option: str) -> None:
        self.page.select_option(f"#menus [name={menu}]", option)
        self.page.wait_for_timeout(300)


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    visit = Visit(browser, address)
    yield visit
    visit.page.context.close()


def test_nothing_is_asked_for_and_nothing_is_complained_of(visit: Visit, address: str) -> None:
    visit.choose("loss", "KD")
    visit.page.wait_for_timeout(500)
    assert [url for url in visit.requests if not url.startswith(("data:", "blob:"))] == [address]
    assert visit.complaints == []
    assert visit.page.title().startswith("Is distillation at infinite temperature")


def test_a_heading_sorts_the_table_by_numbers_and_back(visit: Visit) -> None:
    visit.choose("seed", "")
    heading = visit.page.get_by_role("button", name="test accuracy, last epoch", exact=True)
    heading.click()
    rising = [float(text) for text in visit.column("test accuracy, last epoch")]
    assert len(rising) == 30
    assert rising == sorted(rising)
    assert heading.locator("..").get_attribute("aria-sort") == "ascending"
    heading.click()
    falling = [float(text) for text in visit.column("test accuracy, last epoch")]
    assert falling == rising[::-1] or falling == sorted(rising, reverse=True)
    visit.page.get_by_role("button", name="temperature T", exact=True).click()
    assert list(dict.fromkeys(visit.column("temperature T"))) == ["1", "4", "∞"]


def test_a_choice_changes_the_curves_and_the_table(visit: Visit) -> None:
    visit.choose("seed", "")
    assert visit.curves() == len(visit.column("loss")) == 30
    visit.choose("loss", "KD")
    assert visit.curves() == len(visit.column("loss")) == 12
    visit.choose("temperature", "∞")
    assert visit.curves() == len(visit.column("loss")) == 6
    visit.choose("seed", "0")
    assert visit.curves() == 1
    assert visit.column("loss") == ["KD"]
    before = visit.page.locator("#chart .mark-line path[d]").get_attribute("d")
    visit.choose("measure", "objective")
    assert visit.page.locator("#chart .mark-line path[d]").get_attribute("d") != before
    assert "1 of 31 networks" in visit.page.locator("#count").inner_text()
    visit.page.fill("#menus [name=text]", "no such network")
    assert visit.column("loss") == []


def test_a_networks_button_brings_out_its_curve(visit: Visit) -> None:
    thick = (
        "[...document.querySelectorAll('#chart .mark-line path[d]')]"
        ".map((path) => path.getAttribute('stroke-width'))"
    )
    assert set(visit.page.evaluate(thick)) == {"1.5"}
    button = visit.page.locator("#runs tbody tr:not([hidden]) .pick").first
    button.press("Enter")
    visit.page.wait_for_timeout(300)
    assert sorted(visit.page.evaluate(thick))[-2:] == ["1.5", "3.5"]
    assert button.get_attribute("aria-pressed") == "true"
    visit.choose("loss", "LM" if "LM" not in visit.column("loss")[0] else "KD")
    assert set(visit.page.evaluate(thick)) == {"1.5"}, "of what is not shown nothing is brought out"


def test_the_csv_is_the_table(visit: Visit, tmp_path: Path) -> None:
    visit.choose("seed", "")
    visit.choose("loss", "LM")
    visit.page.get_by_role("button", name="test accuracy, last epoch", exact=True).click()
    with visit.page.expect_download() as started:
        visit.page.click("#download")
    started.value.save_as(tmp_path / "runs.csv")
    with (tmp_path / "runs.csv").open(newline="", encoding="utf-8") as file:
        heading, *rows = list(csv.reader(file))
    assert len(rows) == 6
    for place, title in enumerate(heading):
        assert [row[place] for row in rows] == visit.column(title)


@pytest.mark.parametrize("width", [320, 700, 1280, 2560])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screen_reader_can_read_it_and_it_fits_the_window(
    browser: Any, address: str, width: int, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    visit = Visit(browser, address, width, scheme)
    visit.page.wait_for_timeout(300)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(visit.page).response["violations"]
    serious = {
        f"{one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    }
    assert serious == set()
    visit.page.context.close()


def test_the_keyboard_comes_first_to_the_answer_and_opens_every_part(
    browser: Any, address: str
) -> None:
    visit = Visit(browser, address)
    page = visit.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    closed = page.locator("#provenance")
    closed.evaluate("(part) => { part.open = false; }")
    closed.locator("summary").press("Enter")
    assert closed.evaluate("(part) => part.open")
    page.context.close()


def test_a_link_opens_the_part_that_it_leads_to(browser: Any, address: str) -> None:
    visit = Visit(browser, f"{address}#every-claim")
    page = visit.page
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = false; })")
    page.get_by_role("link", name="provenance").click()
    page.wait_for_function("document.getElementById('provenance').open")
    page.context.close()


def test_every_part_is_printed_and_closed_again(visit: Visit) -> None:
    page = visit.page
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = false; })")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
