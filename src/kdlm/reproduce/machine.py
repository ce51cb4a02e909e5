"""Whether equal bytes can be expected on this machine: comparing hardware and versions."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from kdlm.archive.environment import build_digest
from kdlm.reproduce.told import shown

__all__ = ["differences", "here"]

_HARDWARE = ("machine", "processor", "cpu_capability", "device", "device_name")
_PACKAGES = ("torch", "torchvision", "numpy", "pyarrow", "safetensors")
_BUILDS = ("torch", "numpy", "scikit-learn", "pillow")


def here(device: str) -> dict[str, Any]:
    """Return the facts that ``run.json`` would have for a job run here, on the config's device."""
    from kdlm.networks.devices import resolve_device  # noqa: PLC0415
    from kdlm.storage.provenance import circumstances  # noqa: PLC0415

    return circumstances(resolve_device(device))


def differences(
    recorded: Mapping[str, Any], present: Mapping[str, Any], installed: Mapping[str, Any]
) -> list[str]:
    """Return the differences in hardware, versions and builds between a job and this machine.

    A training that was stopped may have been resumed on another machine, so each part is compared.

    Args:
        recorded: the job's archived ``run.json``.
        present: the facts of this machine, from `here`.
        installed: the archived ``environment/installed.json``.

    """
    pairs = [(name, recorded.get(name), present.get(name)) for name in (*_HARDWARE, "python")]
    packages = recorded.get("packages", {})
    pairs += [(name, packages.get(name), present["packages"].get(name)) for name in _PACKAGES]
    pairs += [
        (f"cpu_capability before a stop in epoch {part.get('epoch')}", part["cpu_capability"],
         present.get("cpu_capability"))
        for part in recorded.get("resumed_from") or () if "cpu_capability" in part
    ]  # fmt: skip
    found = [
        f"{name}: {_spelt(there)} there, {this} here"
        for name, there, this in pairs
        if there != this
    ]
    named = {text.split(":")[0] for text in found}
    builds = [
        f"{name}: another build of the same version"
        for name in _BUILDS
        if name not in named and installed.get(name, {}).get("sha256") != _build(name)
    ]
    return found + builds


def _spelt(value: Any) -> str:
    """Return a fact about the archive's machine as text; a string is not quoted."""
    return value[:200] if isinstance(value, str) else shown(value)


def _build(name: str) -> str | None:
    try:
        return build_digest(distribution(name))
    except PackageNotFoundError:
        return None
