"""L0: every file is as it was archived, and the records agree with the files."""

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
    """Enter L0 of every archived file, and of every output that a record names.

    Unpacking has checked the files against the manifest. This function compares the manifest's
    SHA-256 with those of the other records: Snakemake's records of the inputs of each job, and the
    crate's of each file. An output must be in the archive, or ``archive.json`` must have its
    SHA-256, which is then compared with the same records. The config is not read, because an
    untrusted config may ask for any number of jobs.

    Raises:
        InputError: the crate, ``archive.json`` or Snakemake's records cannot be read.

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
        # An output that was left out cannot hold at L0; it is entered only if its records disagree.
        if wrong or name in unpacked.digests:
            outcomes.judge(name, Level.INTEGRITY, wrong)
    _enter_untold(unpacked, outcomes, outputs)


def check_outputs(unpacked: Unpacked, outcomes: Outcomes) -> None:
    """Enter a failure at L0 for every output of the config of which the archive has no SHA-256."""
    names = expected(unpacked.study, ())
    _enter_untold(unpacked, outcomes, {f"{unpacked.prefix}/{name}" for name in names})


def _enter_untold(unpacked: Unpacked, outcomes: Outcomes, names: set[str]) -> None:
    for name in sorted(name for name in names if unpacked.digest(name) is None):
        outcomes.judge(name, Level.INTEGRITY, UNTOLD)


def _described(unpacked: Unpacked) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return all SHA-256 and all sizes of each file in the crate, which may describe it twice."""
    digests: dict[str, set[str]] = defaultdict(set)
    sizes: dict[str, set[str]] = defaultdict(set)
    for entity in read_object(unpacked.folder / CRATE)["@graph"]:
        if "sha256" in entity:
            digests[entity["name"]].add(entity["sha256"])
        if "sha256" in entity and "contentSize" in entity:
            sizes[entity["name"]].add(entity["contentSize"])
    return digests, sizes
