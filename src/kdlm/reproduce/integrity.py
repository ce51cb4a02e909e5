"""L0: every file is what was archived, and the records agree with the files they speak of."""

from kdlm.archive.contents import expected
from kdlm.archive.names import CRATE, FACTS
from kdlm.archive.records import input_checksums
from kdlm.errors import InputError
from kdlm.reproduce.outcome import Level, Outcomes
from kdlm.reproduce.unpacked import UNTOLD, Unpacked, read_object

__all__ = ["check_integrity"]


def check_integrity(unpacked: Unpacked, outcomes: Outcomes) -> None:
    """Enter L0 of every archived file, and of every output that the archive should tell of.

    Their digests have been checked when they were unpacked. Here those digests are held against
    what others recorded: Snakemake the inputs of each job, the crate each file. An output has to be
    in the archive, or its digest among what was left out; that is held against the same records.

    Raises:
        InputError: those records are none.

    """
    try:
        recorded = input_checksums(read_object(unpacked.folder / "snakemake/records.json"))
        described = _described(unpacked)
        outputs = {f"{unpacked.prefix}/{name}" for name in expected(unpacked.study, ())}
        outputs |= unpacked.recorded_inputs
        missing = sorted(name for name in outputs if unpacked.digest(name) is None)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{unpacked.archive}: its crate, {FACTS} or Snakemake's records cannot be read "
            f"({error!r})"
        ) from None
    for name, digest in (unpacked.left_out | unpacked.digests).items():
        others = [("Snakemake's record of a job", recorded), ("the crate", described)]
        wrong = next((who for who, seen in others if seen.get(name, set()) - {digest}), None)
        # what is not there is not what was archived: nothing holds of it here
        if wrong or name in unpacked.digests:
            outcomes.judge(
                name, Level.INTEGRITY, f"{wrong} has another SHA-256 of it" if wrong else None
            )
    for name in missing:
        outcomes.judge(name, Level.INTEGRITY, UNTOLD)


def _described(unpacked: Unpacked) -> dict[str, set[str]]:
    crate = read_object(unpacked.folder / CRATE)
    return {entity["name"]: {entity["sha256"]} for entity in crate["@graph"] if "sha256" in entity}
