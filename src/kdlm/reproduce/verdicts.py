"""L4: the same verdict on every claim."""

from pathlib import Path

from kdlm.errors import InputError
from kdlm.reproduce.outcome import Level, Outcomes, State
from kdlm.reproduce.unpacked import Unpacked
from kdlm.storage.parquet import read_table

__all__ = ["compare_verdicts"]


def compare_verdicts(unpacked: Unpacked, folder: Path, outcomes: Outcomes) -> None:
    """Enter L4 of every claim: the archived verdict, and that in the study's ``folder``."""
    whole = f"{unpacked.prefix}/claims.parquet"
    try:
        archived = _verdicts(unpacked.results / "claims.parquet")
        found = _verdicts(folder / "claims.parquet")
    except (InputError, FileNotFoundError) as error:
        outcomes.add(whole, Level.VERDICT, State.FAILED, str(error))
        return
    changed = []
    for claim in dict.fromkeys([*archived, *found]):
        before, after = archived.get(claim, "no claim"), found.get(claim, "no claim")
        difference = None if before == after else f"{before} in the archive, {after} now"
        outcomes.judge(f"claim {claim}", Level.VERDICT, difference)
        changed += [claim] if difference else []
    outcomes.judge(whole, Level.VERDICT, ", ".join(changed) or None)


def _verdicts(path: Path) -> dict[str, str]:
    claims = read_table(path, "claims")
    # a claim may be judged against several others: what it was measured on tells them apart
    names = claims["id"] + " (" + claims["form"] + ")"
    repeats = names.groupby(names).cumcount()
    unique = names.where(repeats == 0, names + " " + (repeats + 1).astype(str))
    return dict(zip(unique, claims["verdict"], strict=True))
