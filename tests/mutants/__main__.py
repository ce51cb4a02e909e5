"""Puts in each fault, runs its tests, and prints how many were noticed, area by area.

Every test that is named has to pass without a fault first; that is looked at too.
"""

import argparse
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutants.faults import Fault, faults
from tests.mutants.running import ROOT, Failure, prepare, run_tests

ENOUGH = 0.9
"""Share of faults that has to be noticed in every area, equivalent ones left out."""


@dataclass(frozen=True)
class Outcome:
    """What became of a fault."""

    fault: Fault
    noticed: bool
    seconds: float
    by: str
    """The first test that failed."""


def copy_checkout(folder: Path) -> Path:
    """Copy every file of the checkout that git does not ignore to ``folder``; return it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@contextmanager
def broken(checkout: Path, fault: Fault) -> Iterator[None]:
    """The copy with the fault in it, for as long as the context lasts."""
    path = checkout / fault.file
    whole = path.read_bytes()
    path.write_text(fault.applied(whole.decode()), encoding="utf-8")
    try:
        yield
    finally:
        path.write_bytes(whole)


class Workers:
    """Copies of the checkout, each for one run of tests at a time."""

    def __init__(self, folder: Path, number: int) -> None:
        self.free: queue.Queue[Path] = queue.Queue()
        self.number = number
        self.lock = threading.Lock()
        for i in range(number):
            self.free.put(copy_checkout(folder / str(i) / "checkout"))

    @contextmanager
    def copy(self) -> Iterator[Path]:
        """One of the copies."""
        checkout = self.free.get()
        try:
            yield checkout
        finally:
            self.free.put(checkout)

    def whole(self, tests: tuple[str, ...]) -> None:
        """Hold that the tests pass without a fault.

        Raises:
            Failure: they do not.

        """
        with self.copy() as checkout:
            passed, why = run_tests(checkout, tests)
        if not passed:
            raise Failure(f"{' '.join(tests)}: without any fault: {why}")

    def try_fault(self, fault: Fault) -> Outcome:
        """Put one fault in and run its tests."""
        begun = time.monotonic()
        with self.copy() as checkout, broken(checkout, fault):
            passed, by = run_tests(checkout, fault.tests)
        outcome = Outcome(fault, not passed, time.monotonic() - begun, "" if passed else by)
        with self.lock:
            what = "noticed" if outcome.noticed else "SURVIVED"
            print(f"{what:<9}{outcome.seconds:5.0f} s  {fault.area}: {fault.says}", flush=True)
            print(f"{' ' * 18}{by if outcome.noticed else fault.place}", flush=True)
        return outcome

    def map(self, outcomes: Iterable[Fault]) -> list[Outcome]:
        """Every fault, as many at a time as there are copies."""
        with ThreadPoolExecutor(self.number) as pool:
            return list(pool.map(self.try_fault, outcomes))

    def whole_all(self, tests: Iterable[tuple[str, ...]]) -> None:
        """Hold that all tests pass without a fault; see `whole`."""
        with ThreadPoolExecutor(self.number) as pool:
            list(pool.map(self.whole, tests))


def table(outcomes: Sequence[Outcome], equivalent: Sequence[Fault]) -> tuple[str, bool]:
    """Noticed of tried by area, with every survivor; and whether that is enough."""
    areas = sorted({outcome.fault.area for outcome in outcomes})
    lines = [f"{'area':<12} {'noticed':>8} {'tried':>6} {'share':>7} {'equivalent':>11}", "-" * 48]
    enough = True
    totals = [0, 0, 0]
    for area in areas:
        own = [outcome for outcome in outcomes if outcome.fault.area == area]
        noticed, same = sum(one.noticed for one in own), sum(one.area == area for one in equivalent)
        share = noticed / len(own)
        enough &= share >= ENOUGH
        lines.append(f"{area:<12} {noticed:>8} {len(own):>6} {share:>6.0%} {same:>11}")
        totals = [a + b for a, b in zip(totals, (noticed, len(own), same), strict=True)]
    noticed, tried, same = totals
    lines.append(f"{'all':<12} {noticed:>8} {tried:>6} {noticed / tried:>6.0%} {same:>11}")
    survivors = [outcome.fault for outcome in outcomes if not outcome.noticed]
    lines += ["", "survivors:" if survivors else "no survivor"]
    lines += [f"  {fault.area}: {fault.says}\n    {fault.place}" for fault in survivors]
    if equivalent:
        lines += ["", "equivalent, not tried:"]
        lines += [f"  {one.area}: {one.says}: {one.equivalent}" for one in equivalent]
    return "\n".join(lines), enough


def main() -> int:
    """Run what the command line asks for; 0 where every area is noticed well enough."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("area", nargs="*", help="names of files in lists/; default: all")
    parser.add_argument("--workers", type=int, default=2, help="faults at a time; default: 2")
    parser.add_argument("--only", default="", help="faults whose words contain this")
    parser.add_argument("--no-baseline", action="store_true",
                        help="do not run the tests without a fault first")  # fmt: skip
    arguments = parser.parse_args()
    every = [
        fault
        for fault in faults()
        if (not arguments.area or fault.area in arguments.area)
        and arguments.only in f"{fault.says} {fault.place}"
    ]
    tried = [fault for fault in every if not fault.equivalent]
    if not tried:
        parser.error("no such fault")
    prepare()
    with TemporaryDirectory(prefix="mutants-") as folder:
        workers = Workers(Path(folder), arguments.workers)
        try:
            if not arguments.no_baseline:
                workers.whole_all(dict.fromkeys(fault.tests for fault in tried))
            outcomes = workers.map(tried)
        except (Failure, ValueError) as failure:
            print(failure, file=sys.stderr)
            return 2
    text, enough = table(outcomes, [fault for fault in every if fault.equivalent])
    print(f"\n{text}")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
