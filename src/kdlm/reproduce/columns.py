"""L3: comparing the archived and the rerun table of a job, column by column."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kdlm.errors import InputError
from kdlm.storage.parquet import read_arrow
from kdlm.study.tolerances import Tolerance

__all__ = ["first_difference"]

Array = npt.NDArray[np.float64]


def first_difference(
    archived: Path, rerun: Path, table: str, tolerances: Mapping[str, Tolerance]
) -> str | None:
    """Return the first column outside its tolerance, with the difference; None if there is none.

    A column is outside if the root mean square over its rows of rerun − archived exceeds
    absolute + relative · (root mean square of archived). Of a history only the last epoch is
    compared: its numbers are those that are reported, and they differ least between machines,
    because training has settled by then. A column without a tolerance must be equal in all rows,
    and nulls must be in the same rows of both tables.

    Args:
        archived: path of the archived Parquet file.
        rerun: path of the file that the rerun job wrote.
        table: name of the table's schema.
        tolerances: tolerance of each column, by name.

    """
    try:
        one, other = read_arrow(archived, table), read_arrow(rerun, table)
    except InputError as error:
        return str(error)
    if len(one) != len(other) or one.column_names != other.column_names:
        return f"{len(other)} rows where there were {len(one)}"
    for name in one.column_names:
        if name not in tolerances and not one[name].equals(other[name]):
            return f"column {name} differs, and has no tolerance"
    if "epoch" in one.column_names:
        last = pc.field("epoch") == pc.max(one["epoch"])
        one, other = one.filter(last), other.filter(last)
    for name in tolerances:
        if name in one.column_names:
            complaint = _apart(_numbers(one[name]), _numbers(other[name]), tolerances[name])
            if complaint:
                return f"column {name}: {complaint}"
    return None


def _numbers(column: pa.ChunkedArray) -> Array:
    """Return the values of a column of numbers, or of lists of numbers, with NaN for null."""
    flat = column.combine_chunks()
    if pa.types.is_list(flat.type):
        flat = flat.flatten()
    return np.asarray(pc.fill_null(flat.cast(pa.float64()), np.nan), dtype=np.float64)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.square(values).mean())) if values.size else 0.0


def _apart(archived: Array, rerun: Array, tolerance: Tolerance) -> str | None:
    there = ~np.isnan(archived)
    if archived.shape != rerun.shape or (there == np.isnan(rerun)).any():
        return "null in one of the two only"
    distance = _rms(rerun[there] - archived[there])
    allowed = tolerance.absolute + tolerance.relative * _rms(archived[there])
    if distance <= allowed:
        return None
    return f"rms difference {distance:.3g}, where {allowed:.3g} is the tolerance"
