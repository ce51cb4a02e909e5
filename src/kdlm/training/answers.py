"""Writing a teacher's answers: its logits for the views of all students of one seed."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kdlm.data.images import Images
from kdlm.data.prepared import open_prepared
from kdlm.networks.devices import autocast, configure_torch, resolve_device
from kdlm.storage.files import replacing
from kdlm.study.specs import AnswersSpec
from kdlm.training.arrays import from_numpy
from kdlm.training.teaching import ANSWERS_KEY, OnlineTeacher, answers_identity, logits_digest
from kdlm.training.views import Views

__all__ = ["write_answers"]


def write_answers(spec: AnswersSpec, data: Path, teacher: Path, output: Path) -> None:
    """Run a teacher on the views of the students of one seed, and write its logits to ``output``.

    Args:
        spec: the views, and where and with how many threads the teacher runs.
        data: file of the prepared dataset.
        teacher: folder with the teacher's files.
        output: Parquet file to write.

    Raises:
        InputError: a file cannot be read, the file cannot be written, or the device is missing.

    """
    configure_torch(spec.threads)
    device = resolve_device(spec.device)
    prepared = open_prepared(data)
    images = Images.of(prepared, "train", spec.precision, device)
    network = OnlineTeacher.load(teacher, device)
    views = Views(images, spec, "student")
    value = pa.float64() if network.dtype == torch.float64 else pa.float32()
    schema = pa.schema(
        [
            pa.field("epoch", pa.int32(), metadata={"meaning": "the first epoch is 1"}),
            pa.field(
                "logits",
                pa.list_(value, prepared.num_classes),
                metadata={"meaning": "the teacher's, in the order of the views"},
            ),
        ],
        metadata={"kdlm.spec": spec.canonical_json()},
    )
    digests = []
    with (
        replacing(output) as temporary,
        # pyarrow opens no path that is not UTF-8, Python does
        temporary.open("wb") as file,
        pq.ParquetWriter(
            file, schema, compression="none", use_dictionary=False, write_statistics=False
        ) as writer,
    ):
        for epoch in range(1, spec.epochs + 1):
            logits = _epoch(network, views, spec.precision, device)
            digests.append(logits_digest(logits))
            flat = from_numpy(logits.numpy())
            columns = [
                from_numpy(np.full(len(logits), epoch, dtype=np.int32)),
                pa.FixedSizeListArray.from_arrays(flat, prepared.num_classes),
            ]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=len(logits))
        described = answers_identity(spec, teacher) | {"sha256": digests}
        writer.add_key_value_metadata({ANSWERS_KEY: json.dumps(described, sort_keys=True)})


def _epoch(
    network: OnlineTeacher, views: Views, precision: str, device: torch.device
) -> torch.Tensor:
    """Return the logits (N, K) for all views of the next epoch, in their order, on the CPU."""
    views.begin()
    answers = []
    for batch in range(len(views)):
        images, _ = views.batch(batch)
        with autocast(precision, device):
            answers.append(network(images).to(network.dtype))
    return torch.cat(answers).cpu()
