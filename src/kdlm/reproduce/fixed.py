"""Whether tolerances and margins were fixed before the run, by Snakemake's records."""

from collections.abc import Sequence
from typing import Any

from kdlm.reproduce.outcome import Level
from kdlm.reproduce.unpacked import Unpacked

__all__ = ["note_of_late_numbers"]

_JUDGED_BY = {Level.TOLERANCE: "tolerances", Level.VERDICT: "margins"}
_FAR_OFF = 1e12
"""Seconds since 1970 that no real record reaches."""
_TRAININGS = ("teachers/", "students/", "init_means/")


def note_of_late_numbers(unpacked: Unpacked, levels: Sequence[Level]) -> str | None:
    """Return a note if ``study.json`` may be younger than a training; None if it is older.

    A change of tolerances or margins rewrites ``study.json`` and trains nothing again. An added
    seed rewrites it too, so this is a note and not a failure.

    Args:
        unpacked: the archive.
        levels: the levels that are checked; the note is about the numbers that they use.

    """
    numbers = [f"{what} ({level})" for level, what in _JUDGED_BY.items() if level in levels]
    if not numbers:
        return None
    records = unpacked.records
    written = _start(records.get(f"{unpacked.prefix}/study.json"))
    folders = tuple(f"{unpacked.prefix}/{folder}" for folder in _TRAININGS)
    starts = [_start(record) for name, record in records.items() if name.startswith(folders)]
    began = min((start for start in starts if start is not None), default=None)
    judged = f"study.json, and with it {' and '.join(numbers)},"
    if written is None or began is None:
        return f"{judged} may be younger than the trainings: Snakemake's records do not say"
    if written <= began:
        return None
    return (
        f"{judged} was written {written - began:.0f} s after the first training began, by "
        f"Snakemake's records: these numbers may have been chosen once results were known, or "
        f"something else in the config was changed, such as a seed added"
    )


def _start(record: Any) -> float | None:
    start = record.get("starttime") if isinstance(record, dict) else None
    # Seconds since 1970. The record is untrusted: it may have any value here, or NaN.
    return float(start) if isinstance(start, int | float) and 0 <= start < _FAR_OFF else None
