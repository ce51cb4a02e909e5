"""Weights from elsewhere: how they are read, and which layer is which."""

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from kdlm.errors import InputError
from kdlm.networks.architectures import build
from kdlm.networks.brought import load_brought, read_weights
from kdlm.networks.initialisation import initialise, stream


def trained(architecture: str) -> Any:
    network = build(architecture, 10, 3, image_side=32)
    initialise(network, "he", stream(0, "weights"))
    # running statistics of its own
    network(torch.randn(8, 3, 32, 32))
    network.eval()
    return network


def as_resnet(name: str) -> str:
    name = re.sub(r"^stages\.(\d)\.", lambda found: f"layer{int(found[1]) + 1}.", name)
    return name.replace(".shortcut.", ".downsample.").replace("classifier.", "fc.")


def as_wide(name: str) -> str:
    name = re.sub(r"^stages\.(\d)\.", lambda found: f"block{int(found[1]) + 1}.layer.", name)
    name = re.sub(r"^bn\.", "bn1.", name)
    return name.replace(".shortcut.", ".convShortcut.").replace("classifier.", "fc.")


@pytest.mark.parametrize(
    ("architecture", "spell"),
    [("resnet20", as_resnet), ("resnet8x4", as_resnet), ("wrn-16-2", as_wide), ("mlp", str)],
)
def test_layers_are_found_under_the_names_of_others(
    tmp_path: Path, architecture: str, spell: Any, caplog: pytest.LogCaptureFixture
) -> None:
    network, fresh = trained(architecture), build(architecture, 10, 3, image_side=32)
    theirs = {spell(name): value for name, value in network.state_dict().items()}
    assert spell is str or not set(theirs) <= set(network.state_dict())
    torch.save({"state_dict": theirs}, tmp_path / "theirs.pth")
    with caplog.at_level(logging.INFO):
        load_brought(fresh, architecture, tmp_path / "theirs.pth")
    fresh.eval()
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(fresh(images), network(images))
    renamed = [name for name in theirs if name not in network.state_dict()]
    assert len(caplog.messages) == len(renamed)
    for name in renamed:
        assert any(f" {name} is taken for " in line for line in caplog.messages)


class TheirVGG(nn.Module):
    """VGG-13 in blocks, as RepDistiller writes it: a ReLU after each block, then a pool."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for block, width in enumerate((64, 128, 256, 512, 512)):
            layers: list[nn.Module] = []
            for _ in range(2):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
                layers.append(nn.ReLU())
                channels = width
            setattr(self, f"block{block}", nn.Sequential(*layers[:-1]))
        self.classifier = nn.Linear(512, 10)

    def forward(self, images: Tensor) -> Tensor:
        out = images
        for block in range(5):
            out = functional.relu(self.get_submodule(f"block{block}")(out))
            out = functional.max_pool2d(out, 2) if block < 3 else out
        logits: Tensor = self.classifier(functional.adaptive_avg_pool2d(out, 1).flatten(1))
        return logits


def test_a_vgg_in_blocks_gives_the_same_logits(tmp_path: Path) -> None:
    theirs, ours = TheirVGG(), build("vgg13", 10, 3)
    theirs(torch.randn(8, 3, 32, 32))
    torch.save({"model": theirs.state_dict()}, tmp_path / "vgg.pth")
    load_brought(ours, "vgg13", tmp_path / "vgg.pth")
    ours.eval(), theirs.eval()
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(ours(images), theirs(images))


def test_every_way_of_saving_is_read(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(2), "module.b": torch.zeros(1)}
    save_file(state, tmp_path / "one.safetensors")
    torch.save(state, tmp_path / "two.pt")
    torch.save({"epoch": 3, "model": state}, tmp_path / "three.pt")
    torch.save({"state_dict": state}, tmp_path / "four.pth.tar")
    for path in sorted(tmp_path.iterdir()):
        found = read_weights(path)
        assert set(found) == {"a", "b"}, path
        assert torch.equal(found["a"], torch.ones(2))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": {"a": torch.ones(1), "lr": 0.1}}, "'lr' is no tensor"),
        (nn.Linear(2, 2), "could run code"),
        ({"a": Evil()}, "could run code"),
        ([1, 2], "no tensors by name, but list"),
    ],
)
def test_what_is_more_than_tensors_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "theirs.pt")
    with pytest.raises(InputError, match=said):
        read_weights(Path("theirs.pt"))
    assert not Path("touched").exists()


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps({"a": 1})[:5], b"\x80" * 100])
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "theirs.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="missing"):
        read_weights(tmp_path / "nothing.pt")


def test_what_does_not_fit_is_listed_by_name_and_shape(tmp_path: Path) -> None:
    state = trained("resnet8").state_dict()
    del state["bn1.bias"]
    state["classifier.bias"] = torch.zeros(7)
    state["extra"] = torch.zeros(2)
    save_file(state, tmp_path / "theirs.safetensors")
    with pytest.raises(InputError) as caught:
        load_brought(build("resnet8", 10, 3), "resnet8", tmp_path / "theirs.safetensors")
    for part in (
        "classifier.bias: (7,) in the file, (10,) in resnet8",
        "bn1.bias: (16,) in resnet8, not in the file",
        "extra: (2,) in the file, not in resnet8",
    ):
        assert part in str(caught.value)


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    network = trained("resnet8")
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    save_file(state, tmp_path / "old.safetensors")
    fresh = build("resnet8", 10, 3)
    load_brought(fresh, "resnet8", tmp_path / "old.safetensors")
    fresh.eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(fresh(images), network(images))
