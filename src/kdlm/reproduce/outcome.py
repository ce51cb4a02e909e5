"""The outcomes of a check: a state for each output and level, with the reason if it failed."""

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from kdlm.terminal import printable

__all__ = ["LEVELS", "OURS", "STRENGTH", "Level", "Outcomes", "State"]

_WIDEST = 60
"""Largest width of the first column; names of a study's outputs have about 30 characters."""

OURS = "this checkout: "
"""Prefix of the names of outcomes that were found without running code of the archive."""


class Level(StrEnum):
    """A level of reproduction; `LEVELS` says what it means."""

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
"""What it means that an output holds at a level."""

STRENGTH = (Level.RERUN, Level.TOLERANCE, Level.REBUILT, Level.VERDICT, Level.INTEGRITY)
"""The levels from the strongest on.

A rerun shows more than rebuilding, and equal bytes show more than equal verdicts.
"""


class State(StrEnum):
    """The state of one output at one level."""

    HELD = "held"
    FAILED = "failed"
    REFUSED = "refused"
    NOT_DONE = "not done"
    """The output could not be checked: the archive leaves out a file that it is made from."""
    DIFFERING = "differing"
    """This checkout gives another verdict than the archive, which is no fault of the archive."""


@dataclass
class Outcomes:
    """The outcomes of all levels, entered as they are checked."""

    asked: tuple[Level, ...]
    """The levels that are checked."""
    states: dict[str, dict[Level, tuple[State, str]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """State and reason by output and level."""
    notes: list[str] = field(default_factory=list)

    def add(self, output: str, level: Level, state: State, reason: str = "") -> None:
        """Enter the state of ``output`` at ``level``, with the reason for it."""
        self.states[output][level] = (state, reason)

    def judge(self, output: str, level: Level, difference: str | None) -> None:
        """Enter that ``output`` failed if there is a ``difference``, and else that it holds."""
        self.add(output, level, State.FAILED if difference else State.HELD, difference or "")

    def highest(self, output: str) -> Level | None:
        """Return the strongest level at which ``output`` holds; None if there is none."""
        found = self.states[output]
        held = (level for level in STRENGTH if found.get(level, ("",))[0] == State.HELD)
        return next(held, None)

    def count(self, level: Level, state: State) -> int:
        """Return the number of outputs in ``state`` at ``level``."""
        return sum(found.get(level, ("",))[0] == state for found in self.states.values())

    def held(self, level: Level) -> bool:
        """Return whether some output holds at ``level``, and none failed or was refused."""
        return (
            self.count(level, State.HELD) > 0
            and self.count(level, State.FAILED) == 0
            and self.count(level, State.REFUSED) == 0
        )

    def first_complaint(self) -> str | None:
        """Return why the first of the asked levels that fails does not hold; None if all hold."""
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
        """Return the outcomes as a JSON object."""
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
        """Return text for a terminal: a row for each kind of output, then each that did not hold.

        Names and reasons may come from the archive, so characters that are not printable are
        escaped.
        """
        groups: dict[str, list[str]] = defaultdict(list)
        for output in self.states:
            groups[printable(_kind(output))].append(output)
        levels = tuple(Level)
        # A name may have a thousand characters; only its own row becomes longer.
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
        """Return a line for each output with a reason; refusals with equal reasons share a line."""
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
    """Return the row of the table in which an output is counted."""
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
