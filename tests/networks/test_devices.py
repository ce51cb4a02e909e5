"""The device that a name stands for, and settings that make a process repeatable."""

import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from kdlm.errors import InputError
from kdlm.networks.devices import resolve_device, to_device


@pytest.mark.parametrize(
    ("name", "available", "expected"),
    [("cpu", True, "cpu"), ("auto", True, "cuda"), ("auto", False, "cpu"), ("cuda", True, "cuda")],
)
def test_auto_takes_what_there_is(
    monkeypatch: pytest.MonkeyPatch, name: str, available: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device(name).type == expected


def test_cuda_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device: cuda"):
        resolve_device("cuda")


def test_convolutions_are_in_channels_last() -> None:
    network = nn.Conv2d(3, 4, 3)
    assert to_device(network, torch.device("cpu")) is network
    assert network.weight.is_contiguous(memory_format=torch.channels_last)


def test_threads_are_the_specs_and_kernels_deterministic() -> None:
    code = (
        "import torch; from kdlm.networks.devices import configure_torch; configure_torch(3); "
        "print(torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["3", "True"]


def test_new_tensors_are_not_filled_before_they_are_written() -> None:
    code = (
        "import torch; from kdlm.networks.devices import configure_torch; configure_torch(1); "
        "print(torch.utils.deterministic.fill_uninitialized_memory)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["False"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_is_freed_is_not_asked_for_again() -> None:
    code = """
import resource, sys
import torch
from kdlm.networks.devices import configure_torch
if sys.argv[1] == "configured":
    configure_torch(1)
images = torch.ones(64, 16, 32, 32, dtype=torch.float64)
weight = torch.ones(16, 16, 3, 3, dtype=torch.float64)
cleared = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.nn.functional.conv2d(images, weight)
    cleared.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(cleared) * resource.getpagesize())
"""

    def cleared(how: str) -> int:
        """The least memory, in bytes, that the system clears for a convolution of several."""
        command = [sys.executable, "-c", code, how]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        return int(run.stdout)

    # a convolution in float64 has 9 · 16 columns for each of 64 · 30² pixels: 66 MB
    assert cleared("configured") < 1e6
    assert cleared("as it is") > 50e6
