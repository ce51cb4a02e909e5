"""Where a student has its teacher's logits from: the network beside it, or answers in a file.

All students of a teacher and a seed with the same schedule see the same views in the same order
(`kdlm.training.views`), whatever their loss. So one job can run the teacher on these views, epoch
by epoch (`kdlm.training.answers`), and the students read its logits in the order in which they were
written. The logits have the bits that the teacher would give beside the student: the network, the
batches and the number of threads are the same.

The file is a Parquet file with a row group for each epoch and, in its metadata, what the answers
are to and a SHA-256 of each epoch's logits. A student checks an epoch when it reads it, and need
not hash the whole file before it starts.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from kdlm.errors import InputError
from kdlm.networks.devices import to_device
from kdlm.networks.folding import fold_batchnorm
from kdlm.networks.network import Network
from kdlm.networks.saved import load_network
from kdlm.storage.files import reading, verify
from kdlm.study.specs import StudentSpec, ViewsSpec
from kdlm.training.arrays import to_numpy

__all__ = ["ANSWERS_KEY", "Answers", "OnlineTeacher", "answers_identity", "logits_digest"]

ANSWERS_KEY = "kdlm.answers"
"""Key of the file's metadata: the identity of the answers, and the digest of each epoch."""


class OnlineTeacher:
    """A teacher that is run on each batch of views, in eval mode and in its own precision.

    So all students learn from the same logits, whatever their precision.
    """

    def __init__(self, network: Network) -> None:
        """Make a teacher of a trained ``network``, which is put into eval mode."""
        self.network = network.eval()
        self.dtype = network.classifier.bias.dtype

    @classmethod
    def load(cls, teacher: Path, device: torch.device) -> "OnlineTeacher":
        """Load the teacher in folder ``teacher`` onto ``device``, its BatchNorm folded.

        Raises:
            InputError: the file of its weights cannot be read.

        """
        network = fold_batchnorm(load_network(teacher / "model.safetensors"))
        return cls(to_device(network, device))

    @torch.no_grad()
    def __call__(self, images: Tensor, epoch: int = 0, batch: int = 0) -> Tensor:  # noqa: ARG002
        """Return the logits (B, K) for images (B, C, H, W); epoch and batch play no part."""
        logits: Tensor = self.network(images.to(self.dtype))
        return logits


def answers_identity(views: ViewsSpec, teacher: Path) -> dict[str, Any]:
    """Return all that answers depend on: the views, and the checksum of the teacher's weights.

    Args:
        views: the views that are answered, or a spec that extends them.
        teacher: folder with the teacher's files.

    Raises:
        InputError: the file of the weights is missing or damaged.

    """
    described = views.model_dump(mode="json", include=set(ViewsSpec.model_fields))
    return {"views": described, "teacher": verify(teacher / "model.safetensors")}


def logits_digest(logits: Tensor) -> str:
    """Return the SHA-256 of an epoch's logits (N, K), on the CPU, as 64 hexadecimal digits."""
    return hashlib.sha256(logits.numpy().tobytes()).hexdigest()


class Answers:
    """A teacher's answers, read an epoch at a time."""

    def __init__(self, path: Path, spec: StudentSpec, teacher: Path) -> None:
        """Open the file ``path``, with the answers of ``teacher`` to the views of a student.

        Raises:
            InputError: the file is missing or damaged, or has the answers of another teacher or
                to other views.

        """
        self.path = path
        self.batch_size = spec.recipe.batch_size
        try:
            with reading(path):
                # pyarrow opens no path that is not UTF-8, Python does
                self._file = pq.ParquetFile(path.open("rb"))
            described = json.loads((self._file.metadata.metadata or {})[ANSWERS_KEY.encode()])
            found = {name: described[name] for name in ("views", "teacher")}
            self._digests: list[str] = list(described["sha256"])
        except FileNotFoundError:
            raise InputError(f"{path} is missing; run snakemake again") from None
        except (pa.ArrowException, ValueError, KeyError, TypeError):
            raise self._damaged() from None
        if found != answers_identity(spec.views, teacher):
            raise InputError(
                f"{path}: the answers of another teacher, or to other views, than this student's; "
                f"delete it and run snakemake again"
            )
        self._read = 0
        self._logits = torch.empty(0)

    def __call__(self, images: Tensor, epoch: int, batch: int) -> Tensor:
        """Return the logits (B, K) for a batch of views, on the device of ``images``.

        Raises:
            InputError: the epoch's logits are damaged.

        """
        if epoch != self._read:
            self._logits = self._epoch(epoch).to(images.device)
            self._read = epoch
        first = batch * self.batch_size
        return self._logits[first : first + len(images)]

    def _epoch(self, epoch: int) -> Tensor:
        try:
            with reading(self.path):
                group = self._file.read_row_group(epoch - 1, columns=["logits"], use_threads=False)
            column = group["logits"].combine_chunks()
            logits = torch.tensor(to_numpy(column.flatten())).view(len(column), -1)
            if logits_digest(logits) != self._digests[epoch - 1]:
                raise self._damaged()
        except (pa.ArrowException, IndexError, ValueError):
            raise self._damaged() from None
        return logits

    def _damaged(self) -> InputError:
        return InputError(f"{self.path} is damaged; delete it and run snakemake again")
