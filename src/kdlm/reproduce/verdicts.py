"""L4: comparing the verdicts on all claims, also with those of this checkout's own code."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import kdlm
from kdlm.errors import InputError
from kdlm.reproduce.outcome import OURS, Level, Outcomes, State
from kdlm.reproduce.running import run_commands
from kdlm.reproduce.unpacked import Unpacked
from kdlm.storage.parquet import read_table
from kdlm.study.schemas import TABLES, table_path

__all__ = ["compare_own_verdicts", "compare_verdicts"]


def compare_verdicts(unpacked: Unpacked, folder: Path, outcomes: Outcomes) -> None:
    """Enter L4 of every claim: the archived verdict equals that of the study in ``folder``."""
    whole = f"{unpacked.prefix}/claims.parquet"
    try:
        archived = _verdicts(unpacked.results / "claims.parquet")
        found = _verdicts(folder / "claims.parquet")
    except (InputError, FileNotFoundError) as error:
        outcomes.add(whole, Level.VERDICT, State.FAILED, str(error))
        return
    changed = []
    for claim, (before, after) in _pairs(archived, found).items():
        difference = None if before == after else f"{before} in the archive, {after} now"
        outcomes.judge(f"claim {claim}", Level.VERDICT, difference)
        changed += [claim] if difference else []
    outcomes.judge(whole, Level.VERDICT, ", ".join(changed) or None)


def compare_own_verdicts(unpacked: Unpacked, outcomes: Outcomes) -> None:
    """Judge the archived tables with the running kdlm, and enter its verdict on every claim.

    The margins are those of the archived config. A verdict that differs from the archived one is
    reported, but it fails no level, since the two versions of kdlm may differ.
    """
    root = unpacked.folder / "own"
    folder = root / unpacked.prefix
    for name in ("study.json", *(table_path(name).as_posix() for name in TABLES)):
        if (unpacked.results / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(unpacked.results / name, folder / name)
    source = Path(kdlm.__file__).parents[1]
    scratch = unpacked.folder / ".matplotlib"
    failure = run_commands(source, [["judge", unpacked.prefix]], root, scratch)[0]
    archived, found = {}, {}
    try:
        archived = _verdicts(unpacked.results / "claims.parquet")
        found = {} if failure else _verdicts(folder / "claims.parquet")
    except (InputError, FileNotFoundError) as error:
        failure = failure or str(error)
    if failure:
        reason = f"this checkout cannot judge what is archived: {failure}"
        outcomes.add(f"{OURS}verdicts", Level.VERDICT, State.NOT_DONE, reason)
        return
    for claim, (before, after) in _pairs(archived, found).items():
        state = State.HELD if before == after else State.DIFFERING
        reason = f"{before} in the archive, {after} by this checkout" if before != after else ""
        outcomes.add(f"{OURS}claim {claim}", Level.VERDICT, state, reason)
    if differing := outcomes.count(Level.VERDICT, State.DIFFERING):
        outcomes.notes.append(
            f"this checkout gives {differing} of {len(found)} claims another verdict than the "
            f"archive has: its code and the archive's differ, see which of them to believe"
        )


def _pairs(archived: Mapping[str, str], found: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return both verdicts on every claim of either table, by the claim's name."""
    return {
        claim: (archived.get(claim, "no claim"), found.get(claim, "no claim"))
        for claim in dict.fromkeys([*archived, *found])
    }


def _verdicts(path: Path) -> dict[str, str]:
    claims = read_table(path, "claims")
    # A table may have several rows of the same claim and form, so repeats are numbered.
    names = claims["id"] + " (" + claims["form"] + ")"
    repeats = names.groupby(names).cumcount()
    unique = names.where(repeats == 0, names + " " + (repeats + 1).astype(str))
    return dict(zip(unique, claims["verdict"], strict=True))
