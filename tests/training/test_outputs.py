"""The four files that a training leaves, and what stands in them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kdlm.errors import InputError
from kdlm.networks.architectures import build
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.saved import load_network
from kdlm.storage.parquet import read_divergence, read_spec, read_table
from kdlm.study.config import parse
from kdlm.study.jobs import NETWORK_FILES, teacher_jobs
from kdlm.training.outputs import read_logits, write_outputs

HISTORY = [{"epoch": 0, "split": "probe", "objective": 2.0, "accuracy": 0.25}]


def write(folder: Path, config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    spec = teacher_jobs(parse(config))[0].spec
    model = build(spec.architecture, 10, 1, torch.float32)
    initialise(model, "he", stream(0, "teacher weights"))
    logits = torch.randn(6, 10, generator=torch.manual_seed(0))
    told: dict[str, Any] = {
        "spec": spec,
        "model": model,
        "image_shape": (1, 8, 8),
        "history": HISTORY,
        "logits": {
            "train": (logits[:4], torch.tensor([0, 1, 2, 3])),
            "test": (logits[4:], torch.tensor([4, 5])),
        },
        "device": torch.device("cpu"),
        "resumptions": [{"epoch": 2, "batch": 1, "cpu_capability": "AVX2"}],
    }
    write_outputs(folder, **told | changes)
    return told


def test_all_files_are_written_and_read_back(tmp_path: Path, config: dict[str, Any]) -> None:
    told = write(tmp_path, config)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NETWORK_FILES)
    for name in ("history", "logits"):
        described = read_spec(tmp_path / f"{name}.parquet")
        assert described == told["spec"].model_dump(mode="json")
        assert read_divergence(tmp_path / f"{name}.parquet") is None
    for split, (values, labels) in told["logits"].items():
        assert torch.equal(read_logits(tmp_path / "logits.parquet", split), values)
        table = read_table(tmp_path / "logits.parquet", "logits")
        rows = table[table["split"] == split]
        assert rows["label"].tolist() == labels.tolist()
        assert rows["index"].tolist() == list(range(len(labels)))
    state = load_network(tmp_path / "model.safetensors").state_dict()
    for name, value in told["model"].state_dict().items():
        assert torch.equal(state[name], value), name
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["resumed_from"] == told["resumptions"]
    assert run["diverged"] is None


def test_where_a_training_diverged_is_said_in_every_file(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    diverged = {"epoch": 3, "batch": 2, "what": "loss"}
    write(tmp_path, config, diverged=diverged)
    for name in ("history", "logits"):
        assert read_divergence(tmp_path / f"{name}.parquet") == diverged
    assert json.loads((tmp_path / "run.json").read_text())["diverged"] == diverged


def test_equal_outputs_are_equal_bytes(tmp_path: Path, config: dict[str, Any]) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder, config)
    for name in set(NETWORK_FILES) - {"run.json"}:
        one, two = (tmp_path / folder / name for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), name


def test_a_split_that_is_not_there_is_named(tmp_path: Path, config: dict[str, Any]) -> None:
    told = write(tmp_path, config)
    write(tmp_path, config, logits={"test": told["logits"]["test"]})
    with pytest.raises(InputError, match=r"logits\.parquet: no logits of split 'train'"):
        read_logits(tmp_path / "logits.parquet", "train")
