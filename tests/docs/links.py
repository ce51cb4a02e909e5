"""Whether a built site stands alone: ``python -m tests.docs.links FOLDER``.

Every link within the site leads to a page and an anchor that are there, and no page loads a script,
a style, a font or a picture from another machine.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""The attribute, by tag, that makes a browser load something."""

NOT_LOADED = {"canonical", "next", "prev", "search", "index"}
"""Values of ``rel`` with which a browser loads nothing for a ``link``."""


class Page(HTMLParser):
    """A page: its anchors, the addresses that it links to, and those that it loads."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag links to and loads."""
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        address = found.get(LOADS.get(tag, ""))
        if address and not NOT_LOADED & set(found.get("rel", "").split()):
            self.loads.append(address)
        self.loads += addresses_in_style(found.get("style", ""))


def addresses_in_style(text: str) -> list[str]:
    """Return what a style loads.

    >>> addresses_in_style('@import "a.css"; b {src: url(c.woff)} d {background: url("data:e")}')
    ['c.woff', 'a.css']
    """
    quoted = re.findall(r"@import\s+[\"']([^\"']+)", text)
    addresses = [*re.findall(r"url\(\s*[\"']?([^\"')]+)", text), *quoted]
    return [one for one in addresses if not one.startswith("data:")]


@cache
def page(file: Path) -> Page:
    """Parse a page, once."""
    return Page(file)


def faults(site: Path) -> Iterator[str]:
    """Yield one line for each link that leads nowhere and each thing loaded from elsewhere."""
    site = site.resolve()
    files = sorted(site.rglob("*.html"))
    if not files:
        yield f"{site}: no page"
    for file in files:
        name = file.relative_to(site)
        for address in page(file).loads:
            if urlsplit(address).netloc:
                yield f"{name}: loads {address} from another machine"
        for address in {*page(file).links, *page(file).loads}:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not target.is_relative_to(site) or not target.is_file():
                yield f"{name}: {address} leads to no file"
                continue
            anchors = page(target).anchors if target.suffix == ".html" else set()
            if parts.fragment and unquote(parts.fragment) not in anchors:
                yield f"{name}: {address} leads to no anchor"
    for file in sorted(site.rglob("*.css")):
        for address in addresses_in_style(file.read_text(encoding="utf-8")):
            if urlsplit(address).netloc:
                yield f"{file.relative_to(site)}: loads {address} from another machine"


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    print(*found, f"{sys.argv[1]}: {len(found)} faults in links", sep="\n")
    sys.exit(bool(found))
