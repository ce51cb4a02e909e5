"""Writing and reading tables as Parquet files with the schemas of `kdlm.study.schemas`.

A Parquet file holds results and, in its metadata, the spec of the job that made it. It holds no
times, hosts or versions, which go into ``run.json`` beside it, so equal results are equal bytes.
"""

import json
import math
from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kdlm.errors import InputError
from kdlm.storage.files import OPEN_SEAL, read_sealed, replacing, sealed
from kdlm.study.schemas import SCHEMA_VERSION, SCHEMAS, table_path

if TYPE_CHECKING:
    # importing pandas takes half a second, and a training job does not need it
    import pandas as pd

    from kdlm.study.specs import Spec

__all__ = [
    "expect_spec",
    "read_arrow",
    "read_divergence",
    "read_spec",
    "read_table",
    "to_arrow",
    "write_table",
    "write_tables",
]

_TYPES = {
    "text": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "logits": pa.list_(pa.float64()),
}


def arrow_schema(
    name: str,
    spec: Mapping[str, Any] | None = None,
    diverged: Mapping[str, Any] | None = None,
) -> pa.Schema:
    """Return the Arrow schema of table ``name``.

    The metadata of each column are its unit and meaning. The metadata of the schema are the table's
    name, the version of the schemas, the job's ``spec``, and where its training ``diverged``; the
    last two are left out where they are None.
    """
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
    """Write ``rows`` as table ``name`` to the Parquet file ``path``.

    NaN becomes null, and so does every column of the schema that the rows do not have.

    Args:
        name: a name of `kdlm.study.schemas.SCHEMAS`.
        rows: the table's contents.
        path: file to write.
        spec: spec of the job, stored in the file's metadata.
        diverged: epoch, batch and kind of the first number that was not finite, stored there too.

    Raises:
        ValueError: ``rows`` have a column that is not in the schema.
        InputError: the file cannot be written.

    """
    schema = arrow_schema(name, spec, diverged)
    if isinstance(rows, list):
        columns = {column for row in rows for column in row}
        table = pa.table(
            {
                column: to_arrow(SCHEMAS[name][column][0], [row.get(column) for row in rows])
                for column in columns & set(schema.names)
            }
        )
    else:
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows)
        table = table.drop_columns([c for c in table.column_names if c.startswith("__index")])
        columns = set(table.column_names)
    unknown = columns - set(schema.names)
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


def to_arrow(kind: str, values: Sequence[Any]) -> pa.Array:
    """Return the values of a column as an Arrow array; null is None, and NaN in a float column.

    `pyarrow.array` imports pandas wherever that is installed, which takes a training job longer
    than all else it imports besides torch. Therefore numbers and texts are put into the array's
    buffers here. Other values, such as integers with nulls among them, are left to pyarrow.

    >>> to_arrow("text", ["train", "ü", ""]).to_pylist(), to_arrow("int", range(3)).to_pylist()
    (['train', 'ü', ''], [0, 1, 2])

    Args:
        kind: a type of `kdlm.study.schemas`: ``text``, ``int``, ``float`` and so on.
        values: the values, one for each row.

    """
    if kind == "float":
        numbers = array("d", (math.nan if value is None else value for value in values))
        return pa.Array.from_buffers(_TYPES[kind], len(values), [None, pa.py_buffer(numbers)])
    if kind == "int" and None not in values:
        return pa.Array.from_buffers(
            _TYPES[kind], len(values), [None, pa.py_buffer(array("q", values))]
        )
    if kind == "text" and None not in values:
        texts = [value.encode() for value in values]
        ends = array("i", accumulate(map(len, texts), initial=0))
        return pa.StringArray.from_buffers(
            len(values), pa.py_buffer(ends), pa.py_buffer(b"".join(texts))
        )
    return pa.array(values)


def write_tables(folder: Path, **tables: "pa.Table | pd.DataFrame | list[dict[str, Any]]") -> None:
    """Write gathered tables, given by their names, to the subfolder ``tables`` of ``folder``."""
    for name, rows in tables.items():
        write_table(name, rows, folder / table_path(name))


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Replace NaN by null, which every reader leaves out of means and comparisons."""
    if not pa.types.is_floating(column.type):
        return column
    # not pa.scalar(None), which would import pandas
    return pc.if_else(pc.is_nan(column), pa.nulls(1, column.type)[0], column)


def read_arrow(path: Path, name: str) -> pa.Table:
    """Read the file ``path``, which holds table ``name`` or a part of it.

    Raises:
        InputError: the file is missing or damaged, or it is another table; the message names it.

    """
    # Without threads: a short job that also uses torch can end while pyarrow's threads are still
    # starting, and is then aborted although all its files are written.
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
    """Read the file ``path`` of table ``name`` as a data frame; raises as `read_arrow` does."""
    frame: pd.DataFrame = read_arrow(path, name).to_pandas()
    return frame


def read_divergence(path: Path) -> dict[str, Any] | None:
    """Read where the training that wrote the Parquet file ``path`` diverged.

    Returns:
        Epoch, batch and kind of the first number that was not finite; None where the training ran
        to its end.

    Raises:
        InputError: the file is missing or damaged, or it is not a Parquet file.

    """
    metadata = _read(path).schema_arrow.metadata or {}
    diverged: dict[str, Any] | None = json.loads(metadata.get(b"kdlm.diverged", b"null"))
    return diverged


def read_spec(path: Path) -> dict[str, Any]:
    """Read the spec of the job that wrote the Parquet file ``path``; empty where it has none.

    Raises:
        InputError: the file is missing or damaged, or it is not a Parquet file.

    """
    metadata = _read(path).schema_arrow.metadata or {}
    spec: dict[str, Any] = json.loads(metadata.get(b"kdlm.spec", b"{}"))
    return spec


def expect_spec(path: Path, spec: "Spec") -> None:
    """Check that the Parquet file ``path`` was written by a job with this ``spec``.

    Raises:
        InputError: it was written for another spec, and the message names the keys that differ; or
            the file is missing or damaged, or it is not a Parquet file.

    """
    stored, asked = read_spec(path), spec.model_dump(mode="json")
    if stored != asked:
        keys = (key for key in asked | stored if stored.get(key) != asked.get(key))
        raise InputError(
            f"{path} is of another spec than the study asks for ({', '.join(keys)}); "
            f"delete it and run snakemake again"
        )
