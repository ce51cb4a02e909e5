"""The installed Python distributions, each with its version and a digest of its files."""

import hashlib
from importlib.metadata import Distribution, distributions

__all__ = ["build_digest", "installed"]


def installed() -> dict[str, dict[str, str | None]]:
    """Return version and `build_digest` of every installed distribution, by normalised name."""
    found = {one.metadata["Name"].lower().replace("_", "-"): one for one in distributions()}
    return {
        name: {"version": found[name].version, "sha256": build_digest(found[name])}
        for name in sorted(found)
    }


def build_digest(distribution: Distribution) -> str | None:
    """Return the SHA-256 of the digests of a distribution's files; None if it has recorded none.

    Two installations of the same wheel have the same digest: files that the installer adds
    (bytecode, scripts, its own metadata) are left out. Two builds of one version have different
    digests.
    """
    lines = sorted(
        f"{path.as_posix()} {path.hash.value}"
        for path in distribution.files or ()
        if path.hash is not None
        and path.suffix != ".pyc"
        and ".." not in path.parts
        and not path.parts[0].endswith(".dist-info")
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None
