"""L0: every file is what was archived, and the records agree with the files they speak of."""

from kdlm.archive.names import CRATE
from kdlm.errors import InputError
from kdlm.reproduce.outcome import Level, Outcomes
from kdlm.reproduce.unpacked import Unpacked, read_object

__all__ = ["check_integrity"]


def check_integrity(unpacked: Unpacked, outcomes: Outcomes) -> None:
    """Enter L0 of every archived file.

    Their digests have been checked when they were unpacked. Here those digests are held against
    what others recorded: Snakemake the inputs of each job, the crate each file.

    Raises:
        InputError: those records are none.

    """
    try:
        recorded, described = _recorded_inputs(unpacked), _described(unpacked)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{unpacked.archive}: its crate or Snakemake's records cannot be read ({error!r})"
        ) from None
    for name, digest in unpacked.digests.items():
        others = [("Snakemake's record of a job", recorded), ("the crate", described)]
        wrong = next((who for who, seen in others if seen.get(name, digest) != digest), None)
        outcomes.judge(
            name, Level.INTEGRITY, f"{wrong} has another SHA-256 of it" if wrong else None
        )


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
