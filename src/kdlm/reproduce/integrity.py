"""L0: every file is what was archived, and the records agree with the files they speak of."""

from collections import defaultdict

from kdlm.archive.contents import expected
from kdlm.archive.names import CRATE, FACTS
from kdlm.archive.records import input_checksums
from kdlm.errors import InputError
from kdlm.reproduce.outcome import Level, Outcomes
from kdlm.reproduce.told import read_object
from kdlm.reproduce.unpacked import UNTOLD, Unpacked

__all__ = ["check_integrity", "check_outputs"]


def check_integrity(unpacked: Unpacked, outcomes: Outcomes) -> None:
    """Enter L0 of every archived file, and of every output that a record speaks of.

    Their digests have been checked when they were unpacked. Here those digests are held against
    what others recorded: Snakemake the inputs of each job, the crate each file. An output has to be
    in the archive, or its digest among what was left out; that is held against the same records.
    The config is not read: it may ask for jobs without end.

    Raises:
        InputError: those records are none.

    """
    try:
        recorded = input_checksums(unpacked.records)
        described, sizes = _described(unpacked)
        outputs = {*unpacked.records, *unpacked.recorded_inputs}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{unpacked.archive}: its crate, {FACTS} or Snakemake's records cannot be read "
            f"({type(error).__name__})"
        ) from None
    others = {
        "Snakemake's record of a job": recorded,
        "the crate": described,
        FACTS: {name: {digest} for name, digest in unpacked.left_out.items()},
    }
    for name, digest in (unpacked.left_out | unpacked.digests).items():
        who = next((who for who, seen in others.items() if seen.get(name, set()) - {digest}), None)
        wrong = f"{who} has another SHA-256 of it" if who else None
        if wrong is None and name in unpacked.digests and name in sizes:
            size = str((unpacked.folder / name).stat().st_size)
            wrong = "the crate has another size of it" if sizes[name] != {size} else None
        # what is not there is not what was archived: nothing holds of it here
        if wrong or name in unpacked.digests:
            outcomes.judge(name, Level.INTEGRITY, wrong)
    _enter_untold(unpacked, outcomes, outputs)


def check_outputs(unpacked: Unpacked, outcomes: Outcomes) -> None:
    """Enter, among L0, every output that the config asks for and the archive does not tell of."""
    names = expected(unpacked.study, ())
    _enter_untold(unpacked, outcomes, {f"{unpacked.prefix}/{name}" for name in names})


def _enter_untold(unpacked: Unpacked, outcomes: Outcomes, names: set[str]) -> None:
    for name in sorted(name for name in names if unpacked.digest(name) is None):
        outcomes.judge(name, Level.INTEGRITY, UNTOLD)


def _described(unpacked: Unpacked) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """All digests and all sizes that the crate has of a file: it may describe one twice."""
    digests: dict[str, set[str]] = defaultdict(set)
    sizes: dict[str, set[str]] = defaultdict(set)
    for entity in read_object(unpacked.folder / CRATE)["@graph"]:
        if "sha256" in entity:
            digests[entity["name"]].add(entity["sha256"])
        if "sha256" in entity and "contentSize" in entity:
            sizes[entity["name"]].add(entity["contentSize"])
    return digests, sizes
