"""Networks on disk: what was written is what is read, and nothing else is."""

from pathlib import Path

import pytest
import torch

from kdlm.errors import InputError
from kdlm.networks.architectures import build
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.saved import load_network, save_network
from kdlm.storage.parquet import write_table


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_survives_the_disk(tmp_path: Path, dtype: torch.dtype) -> None:
    model = build("resnet8", 7, 2, dtype)
    initialise(model, "xavier", stream(3, "student weights"))
    model(torch.randn(4, 2, 8, 8, dtype=dtype))  # running statistics of its own
    path = tmp_path / "model.safetensors"
    save_network(model, path, architecture="resnet8", in_channels=2, spec={"seed": 3})
    again = load_network(path)
    for name, value in model.state_dict().items():
        assert again.state_dict()[name].dtype == value.dtype
        assert torch.equal(again.state_dict()[name], value), name
    images = torch.randn(3, 2, 8, 8, dtype=dtype)
    assert torch.equal(again.eval()(images), model.eval()(images))


def test_a_network_is_read_in_another_type_where_it_is_asked_for(tmp_path: Path) -> None:
    model = build("resnet8", 7, 1, torch.float32)
    initialise(model, "he", stream(0, "student weights"))
    path = tmp_path / "model.safetensors"
    save_network(model, path, architecture="resnet8", in_channels=1, spec={})
    wide = load_network(path, torch.float64)
    assert {value.dtype for value in wide.parameters()} == {torch.float64}
    assert torch.equal(wide.classifier.weight.float(), model.classifier.weight)


def test_another_sealed_file_in_its_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_table("history", [{"epoch": 0}], path)
    with pytest.raises(InputError, match=r"model\.safetensors: not a network of this study"):
        load_network(path)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_a_weight_that_is_another_than_was_written_is_refused(tmp_path: Path, place: float) -> None:
    model = build("resnet8", 7, 1, torch.float32)
    initialise(model, "he", stream(0, "student weights"))
    path = tmp_path / "model.safetensors"
    save_network(model, path, architecture="resnet8", in_channels=1, spec={})
    content = bytearray(path.read_bytes())
    # among the tensors, whose bytes safetensors takes as they are
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        load_network(path)
