"""L0: every file is what was archived, and the records agree with the files they speak of."""

from kdlm.archive.contents import expected
from kdlm.archive.names import CRATE, FACTS
from kdlm.errors import InputError
from kdlm.reproduce.outcome import Level, Outcomes
from kdlm.reproduce.unpacked import UNTOLD, Unpacked, read_object

__all__ = ["check_integrity"]


def check_integrity(unpacked: Unpacked, outcomes: Outcomes) -> None:
    """Enter L0 of every archived file, and of every output that the archive should tell of.

    Their digests have been checked when they were unpacked. Here those digests are held against
    what others recorded: Snakemake the inputs of each job, the crate each file. An output has to be
    in the archive, or its digest among what was left out.

    Raises:
        InputError: those records are none.

    """
    try:
        recorded, described = _recorded_inputs(unpacked), _described(unpacked)
        outputs = {f"{unpacked.prefix}/{name}" for name in expected(unpacked.study, ())}
        outputs |= unpacked.recorded_inputs
        missing = sorted(name for name in outputs if unpacked.digest(name) is None)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{unpacked.archive}: its crate, {FACTS} or Snakemake's records cannot be read "
            f"({error!r})"
        ) from None
    for name, digest in unpacked.digests.items():
        others = [("Snakemake's record of a job", recorded), ("the crate", described)]
        wrong = next((who for who, seen in others if seen.get(name, digest) != digest), None)
        outcomes.judge(
            name, Level.INTEGRITY, f"{wrong} has another SHA-256 of it" if wrong else None
        )
    for name in missing:
        outcomes.judge(name, Level.INTEGRITY, UNTOLD)


def _recorded_inputs(unpacked: Unpacked) -> dict[str, str]:
    """SHA-256 of the jobs' inputs when they read them; Snakemake takes that of small files."""
    records = read_object(unpacked.folder / "snakemake/records.json")
    return {
        name: checksum.removeprefix("sha256:")
        for record in records.values()
        for name, checksum in (record.get("input_checksums") or {}).items()
        if checksum.startswith("sha256:")
    }


def _described(unpacked: Unpacked) -> dict[str, str]:
    crate = read_object(unpacked.folder / CRATE)
    return {entity["name"]: entity["sha256"] for entity in crate["@graph"] if "sha256" in entity}
