"""The faults: an area a file in lists/, each a text of a source file and what it becomes."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LISTS", "Fault", "faults", "read"]

LISTS = Path(__file__).parent / "lists"
"""Folder of the lists."""


@dataclass(frozen=True)
class Fault:
    """One fault."""

    area: str
    file: str
    """Path within the checkout."""
    old: str
    """Text of the file, which it has once."""
    new: str
    """What the text becomes."""
    says: str
    """The property that is broken, in words."""
    tests: tuple[str, ...]
    """What is run to notice it: arguments of pytest."""
    equivalent: str = ""
    """Why no test can notice it; empty where one can."""

    @property
    def place(self) -> str:
        """File and first line of the text that changes, for people."""
        first = next(line.strip() for line in self.old.splitlines() if line.strip())
        return f"{self.file}: {first}"

    def applied(self, source: str) -> str:
        """``source`` with the fault in it.

        Raises:
            ValueError: the text is not there, or several times.

        """
        found = source.count(self.old)
        if found != 1:
            raise ValueError(f"{self.place!r} is there {found} times, not once; mend the list")
        return source.replace(self.old, self.new)


def read(path: Path) -> list[Fault]:
    """The faults of one list, a TOML file.

    It has ``tests``, what is run for all of them, and a ``[[fault]]`` for each with ``file``,
    ``old``, ``new``, ``says``, and where it needs them ``tests`` of its own and ``equivalent``.

    Raises:
        ValueError: a key is missing or unknown.

    """
    listed: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    found = []
    for entry in listed.pop("fault"):
        tests = entry.pop("tests", listed["tests"])
        try:
            found.append(Fault(path.stem, tests=tuple(tests), **entry))
        except TypeError as error:
            raise ValueError(f"{path.name}: {entry.get('says')!r}: {error}") from None
    return found


def faults(folder: Path = LISTS) -> list[Fault]:
    """All faults, area by area."""
    return [fault for path in sorted(folder.glob("*.toml")) for fault in read(path)]
