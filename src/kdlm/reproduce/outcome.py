"""What a check came to: per output and level, with the reason where it did not hold."""

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from kdlm.terminal import printable

__all__ = ["LEVELS", "OURS", "STRENGTH", "Level", "Outcomes", "State"]

_WIDEST = 60
"""Letters of the first column; names of a study's outputs have some thirty."""

OURS = "this checkout: "
"""What the name of an outcome starts with that code of the archive has no part in."""


class Level(StrEnum):
    """What may hold of an output."""

    INTEGRITY = "L0"
    REBUILT = "L1"
    RERUN = "L2"
    TOLERANCE = "L3"
    VERDICT = "L4"


LEVELS: dict[Level, str] = {
    Level.INTEGRITY: "is what was archived",
    Level.REBUILT: "rebuilt from the archived files: the same bytes",
    Level.RERUN: "rerun on matching hardware and versions: the same bytes",
    Level.TOLERANCE: "rerun: within the tolerances of the archived config, column by column",
    Level.VERDICT: "every claim has the same verdict, by the margins of the archived config",
}

STRENGTH = (Level.RERUN, Level.TOLERANCE, Level.REBUILT, Level.VERDICT, Level.INTEGRITY)
"""Strongest first: a rerun says more than a rebuilding, equal bytes more than equal verdicts."""


class State(StrEnum):
    """What became of one output at one level."""

    HELD = "held"
    FAILED = "failed"
    REFUSED = "refused"
    NOT_DONE = "not done"
    """Nothing to do it from: an output that is made from something the archive leaves out."""
    DIFFERING = "differing"
    """Of a verdict by this checkout: another one, which by itself is no fault of the archive."""


@dataclass
class Outcomes:
    """Filled level by level."""

    asked: tuple[Level, ...]
    states: dict[str, dict[Level, tuple[State, str]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    notes: list[str] = field(default_factory=list)

    def add(self, output: str, level: Level, state: State, reason: str = "") -> None:
        """Enter what became of ``output``."""
        self.states[output][level] = (state, reason)

    def judge(self, output: str, level: Level, difference: str | None) -> None:
        """Enter that ``output`` holds where there is no ``difference``."""
        self.add(output, level, State.FAILED if difference else State.HELD, difference or "")

    def highest(self, output: str) -> Level | None:
        """The strongest level that holds."""
        found = self.states[output]
        held = (level for level in STRENGTH if found.get(level, ("",))[0] == State.HELD)
        return next(held, None)

    def count(self, level: Level, state: State) -> int:
        """How many outputs are in ``state`` at ``level``."""
        return sum(found.get(level, ("",))[0] == state for found in self.states.values())

    def held(self, level: Level) -> bool:
        """Whether a level holds: somewhere, and nowhere failed or was refused."""
        return (
            self.count(level, State.HELD) > 0
            and self.count(level, State.FAILED) == 0
            and self.count(level, State.REFUSED) == 0
        )

    def first_complaint(self) -> str | None:
        """Why an asked level does not hold; None where all do."""
        for level in self.asked:
            if self.held(level):
                continue
            for output, found in self.states.items():
                state, reason = found.get(level, (State.NOT_DONE, ""))
                if state in (State.FAILED, State.REFUSED):
                    return f"{level} {state}: {output}: {reason}"
            return f"{level}: nothing in the archive could be held against it"
        return None

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "levels": {
                level: {
                    "means": LEVELS[level],
                    "holds": self.held(level),
                    **{state.replace(" ", "_"): self.count(level, state) for state in State},
                }
                for level in self.asked
            },
            "outputs": {
                output: {
                    "highest": self.highest(output),
                    **{
                        level: {"state": state} | ({"reason": reason} if reason else {})
                        for level, (state, reason) in found.items()
                    },
                }
                for output, found in sorted(self.states.items())
            },
            "notes": self.notes,
        }

    def as_table(self) -> str:
        """For a terminal: a row for each kind of output, and what did not hold, by name.

        Names and reasons may be an archive's words: what is not printable in them is escaped.
        """
        groups: dict[str, list[str]] = defaultdict(list)
        for output in self.states:
            groups[printable(_kind(output))].append(output)
        levels = tuple(Level)
        # a name may be a thousand letters long: its row is then, and no other
        width = min(max(map(len, groups)), _WIDEST) + 2
        lines = [
            f"{'output':<{width}}" + "".join(f"{level:<10}" for level in levels) + "highest",
            "-" * (width + 10 * len(levels) + 7),
        ]
        for kind, outputs in sorted(groups.items()):
            cells = "".join(f"{self._cell(outputs, level):<10}" for level in levels)
            highest = {self.highest(output) or "none" for output in outputs}
            lines.append(f"{kind:<{width - 1}} {cells}{', '.join(sorted(highest))}")
        lines.append("")
        lines += [f"{level}: {LEVELS[level]}" for level in self.asked]
        lines += ["", *map(printable, (*self._exceptions(), *self.notes))]
        lines += [
            f"{level} {'holds' if self.held(level) else 'DOES NOT HOLD'}" for level in self.asked
        ]
        return "\n".join(lines)

    def _cell(self, outputs: list[str], level: Level) -> str:
        found = [
            self.states[output][level][0] for output in outputs if level in self.states[output]
        ]
        if not found:
            return "-"
        for state in (State.FAILED, State.REFUSED, State.DIFFERING):
            if state in found:
                return f"{found.count(state)} {state}" if len(outputs) > 1 else state
        held = found.count(State.HELD)
        if held == 0:
            return "-"
        return "yes" if held == len(outputs) else f"{held} of {len(outputs)}"

    def _exceptions(self) -> list[str]:
        """What did not hold: a line for each output that failed, and for each reason to refuse."""
        reasons: dict[tuple[Level, State, str, str], list[str]] = defaultdict(list)
        for output, found in sorted(self.states.items()):
            for level, (state, reason) in found.items():
                alone = "" if state == State.REFUSED else output
                if reason:
                    reasons[level, state, reason, alone].append(output)
        return [
            f"{level} {state}: {outputs[0]}"
            + (f" and {len(outputs) - 1} more" if len(outputs) > 1 else "")
            + f": {reason}"
            for (level, state, reason, _), outputs in reasons.items()
        ]


def _kind(output: str) -> str:
    """The row of the table an output is counted in."""
    if output.startswith("claim "):
        return "each claim"
    if output.startswith(OURS):
        return "each claim, by this checkout"
    parts = PurePosixPath(output).parts
    inner = parts[2:]
    if inner and parts[0] == "results":
        if inner[0] in ("students", "teachers", "init_means"):
            return f"{inner[0]}/…/{inner[-1]}"
        if inner[0] in ("logs", "benchmarks"):
            return f"{inner[0]}/…"
        return "/".join(inner)
    return f"{parts[0]}/…" if len(parts) > 1 else output
