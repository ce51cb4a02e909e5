"""The command ``python -m kdlm reproduce``: unpack, ask for consent, check each level, report."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kdlm import __version__
from kdlm.archive.names import SOURCE
from kdlm.errors import InputError
from kdlm.reproduce.commit import compare_source
from kdlm.reproduce.fixed import note_of_late_numbers
from kdlm.reproduce.integrity import check_integrity, check_outputs
from kdlm.reproduce.outcome import Level, Outcomes
from kdlm.reproduce.unpacked import Unpacked, open_archive
from kdlm.storage.files import replaceable, replacing

__all__ = ["reproduce"]


def reproduce(
    archive: Path,
    folder: Path,
    levels: Sequence[Level],
    *,
    jobs: int | None = 3,
    seed: int = 0,
    consent: Callable[[str], bool] | None,
    report: Path | None = None,
) -> Outcomes:
    """Check an archive at ``levels`` and, in any case, at L0, and return the outcomes.

    Args:
        archive: the archive's file.
        folder: a new or empty folder to unpack and work in.
        levels: the levels to check.
        jobs: number of jobs to rerun for L2 and L3, drawn at random. None reruns all; tables,
            claims and figures are then made from the reruns, and L4 is judged on those claims.
        seed: seed of the draw.
        consent: takes a question and returns whether code of the archive may be run; None if nobody
            can be asked.
        report: path of a JSON file for the outcomes, written also if the archive is refused.

    Raises:
        InputError: the archive is refused (the message names the entry), or consent was not given.

    """
    if report:
        # A path that cannot be written is refused before hours of work.
        replaceable(report)
    asked = tuple(level for level in Level if level in {*levels, Level.INTEGRITY})
    outcomes = Outcomes(asked)
    facts: dict[str, Any] = {"archive": archive.name, "kdlm": __version__}
    try:
        unpacked = _opened(archive, folder, outcomes, consent)
        facts |= _facts(unpacked)
        if asked != (Level.INTEGRITY,):
            facts["sample"] = _run(unpacked, outcomes, jobs, seed)
    except InputError as error:
        facts["refused"] = str(error)
        raise
    finally:
        if report:
            with replacing(report) as temporary:
                # ASCII only: text of the archive may have control characters of a terminal, or lone
                # surrogates, which UTF-8 cannot encode.
                text = json.dumps(facts | outcomes.as_json(), indent=1)
                temporary.write_text(f"{text}\n", encoding="utf-8")
    return outcomes


def _opened(
    archive: Path, folder: Path, outcomes: Outcomes, consent: Callable[[str], bool] | None
) -> Unpacked:
    """Return the archive, unpacked and checked at L0.

    Raises:
        InputError: a level above L0 is asked for, and consent to run the archive's code is missing,
            or the archive has no source to run.

    """
    runs_code = outcomes.asked != (Level.INTEGRITY,)
    if runs_code and consent is None:
        raise InputError(
            f"{archive}: more than L0 runs code of the archive, and there is no terminal to ask "
            f"on; say --yes if you trust it"
        )
    unpacked = open_archive(archive, folder)
    check_integrity(unpacked, outcomes)
    source = compare_source(unpacked, outcomes)
    if not runs_code or consent is None:
        return unpacked
    check_outputs(unpacked, outcomes)
    if f"{SOURCE}/src/kdlm/__main__.py" not in unpacked.digests:
        raise InputError(f"{archive} holds no source that could be run; check it with --level L0")
    question = (
        f"{archive} is whole. This runs the Python code in it (commit "
        f"{unpacked.facts.commit!r}) as you, with all that you may do. Its source: {source}."
    )
    if not consent(question):
        raise InputError(f"nothing of the archive was run; what was checked is in {folder}")
    return unpacked


def _facts(unpacked: Unpacked) -> dict[str, Any]:
    return {
        "sha256": unpacked.sha256,
        "study": unpacked.facts.study,
        "source": {
            "commit": unpacked.facts.commit,
            "as_committed": unpacked.facts.as_committed,
        },
        "made_by": unpacked.facts.kdlm,
    }


def _run(
    unpacked: Unpacked, outcomes: Outcomes, jobs: int | None, seed: int
) -> dict[str, Any] | None:
    from kdlm.reproduce.rebuild import rebuild, remake  # noqa: PLC0415
    from kdlm.reproduce.rerun import draw, rerun, rerunnable  # noqa: PLC0415
    from kdlm.reproduce.verdicts import compare_own_verdicts, compare_verdicts  # noqa: PLC0415

    asked = outcomes.asked
    if Level.REBUILT in asked or Level.VERDICT in asked:
        # This comes first because code of the archive, once run, could change any file.
        compare_own_verdicts(unpacked, outcomes)
    if note := note_of_late_numbers(unpacked, asked):
        outcomes.notes.append(note)
    reruns = tuple(level for level in asked if level in (Level.RERUN, Level.TOLERANCE))
    sample, judged = None, None
    if reruns:
        every = rerunnable(unpacked.study)
        drawn = every if jobs is None else draw(every, jobs, seed)
        sample = {"seed": seed, "of": len(every), "jobs": [job.folder for job in drawn]}
        made = rerun(unpacked, drawn, outcomes, reruns)
        if jobs is None:
            remake(unpacked, made, outcomes)
            judged = made
    if Level.REBUILT in asked or (Level.VERDICT in asked and judged is None):
        rebuilt = rebuild(unpacked, outcomes)
        judged = judged or rebuilt
    if Level.VERDICT in asked and judged is not None:
        compare_verdicts(unpacked, judged, outcomes)
        whose = "all jobs' reruns" if jobs is None and reruns else "what the archive holds"
        outcomes.notes.append(f"L4 judges claims made from {whose}")
    return sample
