"""L3: two tables of a job held against each other, column by column."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdlm.errors import InputError
from kdlm.tables import read_arrow
from kdlm.tolerances import Tolerance

__all__ = ["worst_column"]


def worst_column(
    archived: Path, rerun: Path, table: str, tolerances: Mapping[str, Tolerance]
) -> str | None:
    """The first column that is out of its tolerance, and by how much; None where all agree.

    A column without a tolerance has to be equal. Nulls are equal to nulls alone.
    """
    try:
        one, other = read_arrow(archived, table), read_arrow(rerun, table)
    except InputError as error:
        return str(error)
    if len(one) != len(other) or one.column_names != other.column_names:
        return f"{len(other)} rows of {', '.join(other.column_names)}: another table"
    for name in one.column_names:
        before, after = one[name].combine_chunks(), other[name].combine_chunks()
        if name not in tolerances:
            if not before.equals(after):
                return f"column {name} differs, and has no tolerance"
            continue
        if complaint := _apart(_numbers(before), _numbers(after), tolerances[name]):
            return f"column {name}: {complaint}"
    return None


def _numbers(column: pa.Array) -> np.ndarray:
    """The values of a column of numbers, or of lists of them, with NaN for null."""
    flat = column.flatten() if pa.types.is_list(column.type) else column
    return np.asarray(pc.fill_null(flat.cast(pa.float64()), np.nan))


def _apart(archived: np.ndarray, rerun: np.ndarray, tolerance: Tolerance) -> str | None:
    if archived.shape != rerun.shape:
        return f"{rerun.size} values for {archived.size}"
    if (np.isnan(archived) != np.isnan(rerun)).any():
        return "null in one of them only"
    allowed = tolerance.absolute + tolerance.relative * np.abs(archived)
    excess = np.nan_to_num(np.abs(rerun - archived) - allowed, nan=0.0)
    worst = int(excess.argmax()) if excess.size else 0
    if not excess.size or excess[worst] <= 0:
        return None
    return (
        f"{rerun[worst]:.6g} for {archived[worst]:.6g}, where {allowed[worst]:.3g} is the tolerance"
    )
