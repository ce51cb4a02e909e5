"""What an interrupted training goes on from, bit for bit.

A checkpoint is one sealed safetensors file: tensors, and in the metadata plain data as JSON, which
keeps every float exactly. It is bound to all that decides a training's result. One that is of
anything else, or damaged, is refused with the reason, and training starts over.
"""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kdlm import signals
from kdlm.errors import InputError
from kdlm.storage.files import OPEN_SEAL, replacing, sealed, verify

__all__ = ["Checkpoint", "Keeping", "State"]

logger = logging.getLogger(__name__)

_KEY = "kdlm.checkpoint"
"""The only key of the file's metadata: safetensors writes several in a random order."""

_ROOT = "checkpoints"
"""Folder up to which emptied folders are removed with a checkpoint."""


@dataclass(frozen=True)
class Keeping:
    """Where a training is kept while it runs, and how often; no part of what it comes to."""

    path: Path
    epochs: int
    """Whole epochs after which it is saved again."""
    minutes: float
    """Minutes after which it is saved again, also within an epoch; 0 is at every batch."""


@dataclass(frozen=True)
class State:
    """A training between two batches: ``facts`` are what JSON can hold."""

    epoch: int
    batch: int
    """Batches of the epoch that are done."""
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Checkpoint:
    """The checkpoint of one training; without a place to keep it none is written."""

    def __init__(self, keeping: Keeping | None, identity: Mapping[str, str]) -> None:
        """``identity`` holds by name all that decides the result: another one, another training."""
        self.keeping = keeping
        self.identity = dict(identity)
        self.resumptions: list[dict[str, int | str]] = []
        self.last = "none"
        """The last good checkpoint in words."""
        self._epoch = 1
        self._time = time.monotonic()

    def load(self) -> State | None:
        """What to go on from; None, with the reason logged, where there is nothing fit for it."""
        if self.keeping is None or not self.keeping.path.exists():
            return None
        path = self.keeping.path
        try:
            kept, tensors = self._read(path)
        except InputError as error:
            logger.warning("checkpoint refused, training starts over: %s", error)
            return None
        epoch, batch = kept["epoch"], kept["batch"]
        self.resumptions = [*kept["resumptions"], kept["place"]]
        self._epoch = epoch
        self.last = f"{path} (epoch {epoch}, {batch} batches of it done)"
        logger.info("resumed from %s", self.last)
        return State(epoch, batch, tensors, kept["facts"])

    def _read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        verify(path)
        try:
            with safe_open(path, framework="pt") as file:
                kept: dict[str, Any] = json.loads(file.metadata()[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no checkpoint") from error
        other = [
            name for name, value in self.identity.items() if kept["identity"].get(name) != value
        ]
        if other:
            raise InputError(f"{path} is of another {' and another '.join(other)}")
        return kept, {
            name: _laid_out(tensors[name], stride) for name, stride in kept["strides"].items()
        }

    def keep(self, epoch: int, batch: int, state: Callable[[], State]) -> None:
        """Save the ``state`` before a batch if that is due; end the process if a signal asks to.

        Raises:
            SystemExit: after a signal, with the status that a shell gives it, 128 + its number.

        """
        signal = signals.received()
        if self.keeping is not None and (signal or self._is_due(self.keeping, epoch, batch)):
            self._save(self.keeping.path, state())
            self._epoch, self._time = epoch, time.monotonic()
        if signal:
            logger.info(
                "%s: stopped in epoch %d with %d batches of it done; last good checkpoint: %s",
                signal.name,
                epoch,
                batch,
                self.last,
            )
            raise SystemExit(128 + signal)

    def _is_due(self, keeping: Keeping, epoch: int, batch: int) -> bool:
        whole_epochs = batch == 0 and epoch - self._epoch >= keeping.epochs
        return whole_epochs or time.monotonic() - self._time >= 60 * keeping.minutes

    def _save(self, path: Path, state: State) -> None:
        kept = {
            "identity": self.identity,
            "epoch": state.epoch,
            "batch": state.batch,
            "facts": state.facts,
            "strides": {name: tensor.stride() for name, tensor in state.tensors.items()},
            "resumptions": self.resumptions,
            "place": {
                "epoch": state.epoch,
                "batch": state.batch,
                # another instruction set may round otherwise: worth a note, not the work done
                "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            },
            "sha256": OPEN_SEAL,
        }
        # safetensors refuses tensors that share memory
        tensors = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in state.tensors.items()
        }
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(sealed(save(tensors, {_KEY: json.dumps(kept)})))
        except InputError as error:
            # the training may yet come to its end, and that is what counts
            logger.warning("no checkpoint: %s", error)
            return
        self.last = f"{path} (epoch {state.epoch}, {state.batch} batches of it done)"

    def remove(self) -> None:
        """Remove the file, what killed processes left beside it, and the folders that it empties.

        Other trainings use the same parent folders at the same time.
        """
        if self.keeping is None:
            return
        path = self.keeping.path
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            for file in path.parent.glob(f".{path.name}.*.part"):
                file.unlink(missing_ok=True)
            if _ROOT in path.parts:
                for folder in path.parents:
                    folder.rmdir()
                    if folder.name == _ROOT:
                        break


def _laid_out(tensor: Tensor, stride: list[int]) -> Tensor:
    """``tensor`` in the memory layout it was saved from: kernels round by it."""
    laid_out = torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype)
    return laid_out.copy_(tensor)
