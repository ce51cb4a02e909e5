"""Checkpoints, from which an interrupted training goes on and ends with the same bits.

A checkpoint is one sealed safetensors file. It holds the tensors of the training and, in its
metadata, plain data as JSON, which keeps every float exactly. The metadata also name everything
that decides the training's result (the identity). A checkpoint with another identity, or a damaged
one, is refused: the reason is logged and the training starts over.
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

__all__ = ["Checkpoint", "CheckpointPolicy", "State"]

logger = logging.getLogger(__name__)

_KEY = "kdlm.checkpoint"
"""The only key of the file's metadata: safetensors writes several keys in a random order."""

_ROOT = "checkpoints"
"""Name of the topmost folder that is removed, if it is empty, when a checkpoint is removed."""


@dataclass(frozen=True)
class CheckpointPolicy:
    """Where and how often a running training is saved; its result does not depend on this."""

    path: Path
    """The checkpoint file."""
    epochs: int
    """Number of whole epochs from one save to the next."""
    minutes: float
    """Minutes from one save to the next, also within an epoch; 0 saves before every batch."""


@dataclass(frozen=True)
class State:
    """Everything that a training consists of between two batches."""

    epoch: int
    """The epoch under way; the first is 1."""
    batch: int
    """How many batches of this epoch are done."""
    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    """All that is not a tensor, in types that JSON can hold."""


class Checkpoint:
    """Loads, saves and removes the checkpoint of one training; ``keeping=None`` writes nothing."""

    def __init__(self, keeping: CheckpointPolicy | None, identity: Mapping[str, str]) -> None:
        """Make the checkpoint of the training with this ``identity``.

        Args:
            keeping: where and how often to save; None where the training keeps no checkpoint.
            identity: everything that decides the training's result, by name (spec, version of the
                code, …). A checkpoint on disk is used only if all of its values are the same.

        """
        self.keeping = keeping
        self.identity = dict(identity)
        self.resumptions: list[dict[str, int | str]] = []
        self.last = "none"
        """The last good checkpoint, as the text that log messages print."""
        self._epoch = 1
        self._time = time.monotonic()

    def load(self) -> State | None:
        """Read the state that the training goes on from.

        Returns:
            The saved state, or None where there is no checkpoint or where it is refused; the log
            gives the reason for a refusal.

        """
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
        """Save the training before a batch if a save is due; end the process if a signal asks.

        A signal also makes a save due. ``state`` is called only if there is something to save.

        Raises:
            SystemExit: a signal has arrived; the status is 128 + the signal's number, as a shell
                reports it.

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

    def _is_due(self, keeping: CheckpointPolicy, epoch: int, batch: int) -> bool:
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
                # Another instruction set may round differently. run.json records that; throwing
                # the work away over it would be too much.
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
            # the training can still finish without a checkpoint, so it is not ended here
            logger.warning("no checkpoint: %s", error)
            return
        self.last = f"{path} (epoch {state.epoch}, {state.batch} batches of it done)"

    def remove(self) -> None:
        """Remove the checkpoint, temporary files of killed processes, and folders left empty.

        Other trainings may be writing to the same parent folders at this moment, so a folder that
        is not empty stays, and errors of the file system are ignored.
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
    """Return a copy of ``tensor`` with the strides it had when it was saved.

    Kernels sum in an order that depends on the memory layout, so the layout decides the last bits.
    """
    laid_out = torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype)
    return laid_out.copy_(tensor)
