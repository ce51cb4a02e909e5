"""Arrow arrays of numpy's numbers, and back, by their buffers.

`pyarrow.array` and `Array.to_numpy` import pandas wherever it is installed, which takes a training
longer than all else it imports besides torch.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["from_numpy", "to_numpy"]

_TYPES = {pa.float32(): np.float32, pa.float64(): np.float64, pa.int32(): np.int32}


def from_numpy(values: npt.NDArray[Any]) -> pa.Array:
    """Return the numbers of an array, in row-major order, as a flat Arrow array.

    >>> from_numpy(np.array([[1, 2], [3, 4]], dtype=np.float32)).to_pylist()
    [1.0, 2.0, 3.0, 4.0]

    Args:
        values: any shape; float32, float64 or int32.

    Raises:
        ValueError: the numbers have another type.

    """
    (kind,) = (kind for kind, known in _TYPES.items() if known == values.dtype)
    flat = np.ascontiguousarray(values)
    return pa.Array.from_buffers(kind, flat.size, [None, pa.py_buffer(flat)])


def to_numpy(values: pa.Array) -> npt.NDArray[Any]:
    """Return the numbers of an Arrow array (N,), which is not copied and cannot be written to.

    >>> to_numpy(from_numpy(np.arange(4, dtype=np.int32)).slice(2)).tolist()
    [2, 3]

    Raises:
        ValueError: there are nulls among them, or they are of another type than float32, float64
            and int32.

    """
    if values.type not in _TYPES or values.null_count:
        raise ValueError(f"numbers without nulls were expected, not {values.type}")
    dtype = np.dtype(_TYPES[values.type])
    if len(values) == 0:
        return np.empty(0, dtype)
    offset = dtype.itemsize * values.offset
    return np.frombuffer(values.buffers()[1], dtype, len(values), offset)
