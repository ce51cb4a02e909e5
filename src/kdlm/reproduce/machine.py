"""Whether this machine is one on which equal bytes can be asked for: hardware and versions."""

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
    """What ``run.json`` would say of a job of this process; ``device`` is the config's."""
    from kdlm.networks.devices import resolve_device  # noqa: PLC0415
    from kdlm.storage.provenance import circumstances  # noqa: PLC0415

    return circumstances(resolve_device(device))


def differences(
    recorded: Mapping[str, Any], present: Mapping[str, Any], installed: Mapping[str, Any]
) -> list[str]:
    """What differs in hardware, versions and builds between a ``run.json`` and this machine.

    A training that was stopped may have gone on elsewhere: each part of it counts.

    Args:
        recorded: the archived run.json.
        present: see `here`.
        installed: the archived environment/installed.json.

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
    """What an archive says of its machine; text stands as it is."""
    return value[:200] if isinstance(value, str) else shown(value)


def _build(name: str) -> str | None:
    try:
        return build_digest(distribution(name))
    except PackageNotFoundError:
        return None
