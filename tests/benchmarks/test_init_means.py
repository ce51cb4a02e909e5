"""The conventional way to mean logits is that of the same networks, and the benchmark says both."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import conventional, init_means
from benchmarks.init_means import MODES, WAYS, Case, Mode, mean_logits
from kdlm.networks.architectures import SPELLINGS, build
from kdlm.networks.init_means import layer_means


def own(name: str) -> str:
    """kdlm's name of a layer."""
    for pattern, replacement in SPELLINGS["resnet8"]:
        name = re.sub(pattern, replacement, name)
    return name


def drawn_by_hand(seed: int) -> dict[str, torch.Tensor]:
    """The weights of a conventional ResNet-8 of one seed, under the names of kdlm's layers."""
    torch.manual_seed(seed)
    model = conventional.ResNet(8, 100)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            # He's variance, 2/fan_out
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            nn.init.normal_(module.weight, 0, (2 / fan_out) ** 0.5)
    return {own(name): tensor for name, tensor in model.state_dict().items()}


@torch.no_grad()
@pytest.mark.parametrize("mode", MODES)
def test_the_conventional_way_is_right(mode: Mode) -> None:
    case = Case("resnet8", mode, seeds=2, images=4, threads=1)
    found = mean_logits(case, case.draw_images())
    for seed in range(2):
        network = build("resnet8", 100, 3, torch.float64)
        network.load_state_dict(drawn_by_hand(seed))
        network.train(mode == "train")
        logits = network(case.draw_images().double())
        assert found[seed] == pytest.approx(float(logits.mean()), abs=1e-5 * float(logits.std()))


@pytest.mark.parametrize("mode", MODES)
def test_both_ways_have_as_much_to_do(mode: Mode) -> None:
    case = Case("resnet8", mode, seeds=2, images=4, threads=1)
    images = case.draw_images()
    assert images.shape == (4, 3, 32, 32)
    assert len(mean_logits(case, images)) == len(layer_means(case.spec(0), images)) == 2
    assert len(layer_means(case.spec(2), images)) == 2 * 19


def test_it_ends_with_the_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seconds that are made up: 3 a seed for ours where the conventional way takes 6, and so on."""
    seconds = {"conventional": {"train": 6, "eval": 5}, "logits only": {"train": 3, "eval": 2}}

    def takes(way: str) -> Any:
        return lambda case: seconds.get(way, {"train": 9, "eval": 9})[case.batchnorm]

    monkeypatch.setattr(init_means, "WAYS", {way: takes(way) for way in WAYS})
    monkeypatch.setattr(init_means, "ProcessPoolExecutor", lambda n, **_: ThreadPoolExecutor(n))
    assert init_means.main(threads=1, images=4, seeds=1, rounds=2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "ratio train 2.00; eval 2.50"
    # four networks of 3 + 2 seconds, three initialisations, 6000 seeds
    assert f"logits only: {4 * 5 * 3 * 6000 / 3600:.1f} h" in lines[-3]
    assert lines[6].split()[:3] == ["together", "train", "24000.0"]
