"""Tables on disk: Arrow schemas made of `kdlm.study.schemas`, and reading and writing them.

A Parquet file holds results alone, and in its metadata the specification of the job that made it,
so that equal results are equal bytes. Times, hosts and versions go into ``run.json`` beside it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kdlm.errors import InputError
from kdlm.storage.files import OPEN_SEAL, read_sealed, replacing, sealed
from kdlm.study.schemas import SCHEMA_VERSION, SCHEMAS, table_path

if TYPE_CHECKING:
    # half a second that a training job has no use for
    import pandas as pd

    from kdlm.study.specs import Spec

__all__ = [
    "expect_spec",
    "read_arrow",
    "read_divergence",
    "read_spec",
    "read_table",
    "write_table",
    "write_tables",
]

_TYPES = {
    "text": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "logits": pa.list_(pa.float32()),
}


def arrow_schema(
    name: str,
    spec: Mapping[str, Any] | None = None,
    diverged: Mapping[str, Any] | None = None,
) -> pa.Schema:
    """Arrow schema of a table; column metadata hold unit and meaning, the file's the rest."""
    metadata = {"kdlm.table": name, "kdlm.schema_version": str(SCHEMA_VERSION)}
    if spec is not None:
        metadata["kdlm.spec"] = json.dumps(spec, sort_keys=True)
    if diverged is not None:
        metadata["kdlm.diverged"] = json.dumps(diverged, sort_keys=True)
    return pa.schema(
        [
            pa.field(column, _TYPES[kind], metadata={"unit": unit, "meaning": meaning})
            for column, (kind, unit, meaning) in SCHEMAS[name].items()
        ],
        metadata=metadata,
    )


def write_table(
    name: str,
    rows: "pa.Table | pd.DataFrame | list[dict[str, Any]]",
    path: Path,
    spec: Mapping[str, Any] | None = None,
    diverged: Mapping[str, Any] | None = None,
) -> None:
    """Write ``rows`` as table ``name``; NaN, and columns that the rows lack, become null.

    The file's metadata hold the ``spec`` of the job, and where its training ``diverged``.

    Raises:
        ValueError: a column is not in the schema.

    """
    if isinstance(rows, list):
        columns = {column for row in rows for column in row}
        table = pa.table({column: [row.get(column) for row in rows] for column in columns})
    else:
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows)
        table = table.drop_columns([c for c in table.column_names if c.startswith("__index")])
    schema = arrow_schema(name, spec, diverged)
    unknown = set(table.column_names) - set(schema.names)
    if unknown:
        raise ValueError(f"table {name} has no column {', '.join(sorted(unknown))}")
    arrays = [
        _without_nan(table[field.name].cast(field.type))
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    content = pa.BufferOutputStream()
    with pq.ParquetWriter(content, schema, compression="zstd") as writer:
        writer.write_table(pa.table(arrays, schema=schema))
        writer.add_key_value_metadata({"kdlm.sha256": OPEN_SEAL})
    with replacing(path) as temporary:
        temporary.write_bytes(sealed(content.getvalue().to_pybytes()))


def write_tables(folder: Path, **tables: "pa.Table | pd.DataFrame | list[dict[str, Any]]") -> None:
    """Write gathered tables, each by its name, to ``tables/`` in a study's ``folder``."""
    for name, rows in tables.items():
        write_table(name, rows, folder / table_path(name))


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """NaN as null, which every reader leaves out of means and of comparisons."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def read_arrow(path: Path, name: str) -> pa.Table:
    """Read one file of table ``name``.

    Raises:
        InputError: the file is missing, damaged, or not this table; the message names it.

    """
    # in this thread: a short job that has torch too may end while pyarrow's are still starting, and
    # is aborted then, with all its files written
    table = _read(path).read(use_threads=False)
    missing = set(SCHEMAS[name]) - set(table.column_names)
    if missing:
        raise InputError(f"{path}: not a table '{name}': no column {', '.join(sorted(missing))}")
    return table


def _read(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(pa.BufferReader(read_sealed(path)))
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path}: not a Parquet file; delete it and run snakemake again"
        ) from error


def read_table(path: Path, name: str) -> "pd.DataFrame":
    """`read_arrow` as a data frame."""
    frame: pd.DataFrame = read_arrow(path, name).to_pandas()
    return frame


def read_divergence(path: Path) -> dict[str, Any] | None:
    """Epoch, batch and what was not finite, of a training that diverged; errors as `read_arrow`."""
    metadata = _read(path).schema_arrow.metadata or {}
    diverged: dict[str, Any] | None = json.loads(metadata.get(b"kdlm.diverged", b"null"))
    return diverged


def read_spec(path: Path) -> dict[str, Any]:
    """The specification of the job that wrote the Parquet file ``path``; errors as `read_arrow`."""
    metadata = _read(path).schema_arrow.metadata or {}
    spec: dict[str, Any] = json.loads(metadata.get(b"kdlm.spec", b"{}"))
    return spec


def expect_spec(path: Path, spec: "Spec") -> None:
    """Refuse the Parquet file ``path`` of a job that did anything but ``spec``.

    Raises:
        InputError: it is of another spec, or as `read_arrow`.

    """
    stored, asked = read_spec(path), spec.model_dump(mode="json")
    if stored != asked:
        keys = (key for key in asked | stored if stored.get(key) != asked.get(key))
        raise InputError(
            f"{path} is of another spec than the study asks for ({', '.join(keys)}); "
            f"delete it and run snakemake again"
        )
