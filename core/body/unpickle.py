"""Read pickles of body models without running what they say. Standard library and numpy only.

Official SMPL-family files are pickles. A pickle is a program: it names functions and calls them. This reader knows
numpy's arrays, scipy's sparse matrices and chumpy's arrays (both by stand-ins, so that neither package need be there),
and refuses every other name before anything of it is imported or called.
"""

from __future__ import annotations

import codecs
import collections
import io
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


class UnpickleError(Exception):
    """A pickle that is refused or damaged; the message says why and what to do."""


class _StateHolder:
    """Takes any state that a pickle sets, and nothing else."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        self.state = dict(state) if isinstance(state, dict) else {}


class SparseStandIn(_StateHolder):
    """What a pickled scipy.sparse matrix holds, enough to make it dense."""

    layout = ""

    def toarray(self) -> NDArray[Any]:
        """The matrix, dense. Raises UnpickleError if its parts don't fit together."""
        state = self.state
        try:
            shape = tuple(int(n) for n in (state["_shape"] if "_shape" in state else state["shape"]))
            data = np.asarray(state["data"])
            dense = np.zeros(shape, data.dtype)
            if self.layout == "coo":
                row, column = state["coords"] if "coords" in state else (state["row"], state["col"])
            else:
                inner = np.asarray(state["indices"])
                outer = np.repeat(np.arange(len(state["indptr"]) - 1), np.diff(state["indptr"]))
                row, column = (inner, outer) if self.layout == "csc" else (outer, inner)
            np.add.at(dense, (np.asarray(row), np.asarray(column)), data)
        except (KeyError, ValueError, TypeError, IndexError, MemoryError) as error:
            # Of memory: a body's matrices are small, so it is the shape that lies.
            raise UnpickleError("A sparse matrix in this file is damaged. Download the model again.") from error
        return dense


class _Csc(SparseStandIn):
    layout = "csc"


class _Csr(SparseStandIn):
    layout = "csr"


class _Coo(SparseStandIn):
    layout = "coo"


class ChumpyStandIn(_StateHolder):
    """What a pickled chumpy array holds: its value `x`, or a selection from another one."""

    def toarray(self) -> NDArray[Any]:
        """The array's value. Raises UnpickleError for an operation of chumpy's that body models don't use."""
        if "x" in self.state:
            return np.asarray(self.state["x"])
        try:
            values = dense_array(self.state["a"]).ravel()[np.asarray(self.state["idxs"])]
            shape = self.state.get("preferred_shape")
            return values if shape is None else np.asarray(values.reshape(shape))
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise UnpickleError(
                "An array in this file is a chumpy operation that can't be read. Use the .npz of the model."
            ) from error


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Python 3 writes bytes for old protocols as text in latin1; no other codec is needed, or let in."""
    if encoding not in ("latin1", "latin-1"):
        raise UnpickleError(f"This file asks for the codec {encoding}, which no body model needs. Don't use it.")
    return codecs.encode(text, "latin1")


def _from_buffer(buffer: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> NDArray[Any]:
    """How protocol 5 builds an array."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject or order not in ("C", "F"):
        raise UnpickleError("This file builds an array that no body model needs. Don't use it.")
    return np.frombuffer(buffer, dtype).reshape(shape, order="F" if order == "F" else "C")


def _reconstruct_object(cls: type, base: type, state: object) -> object:
    """Stands in for copyreg._reconstructor, for the stand-ins alone."""
    if not (isinstance(cls, type) and issubclass(cls, _StateHolder)) or base is not object:
        raise UnpickleError("This file builds an object that no body model needs. Don't use it.")
    return cls()


def _allowed() -> dict[tuple[str, str], Any]:
    # numpy 1.26's `_core` is a stub whose modules are there only once they are imported.
    multiarray: Any = getattr(getattr(np, "_core", None), "multiarray", None) or np.core.multiarray
    table: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _encode,
        ("copyreg", "_reconstructor"): _reconstruct_object,
        ("copy_reg", "_reconstructor"): _reconstruct_object,
        ("builtins", "object"): object,
        ("__builtin__", "object"): object,
        ("collections", "OrderedDict"): collections.OrderedDict,
    }
    for package in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[(package, "_reconstruct")] = multiarray._reconstruct
        table[(package, "scalar")] = multiarray.scalar
        table[(package.replace("multiarray", "numeric"), "_frombuffer")] = _from_buffer
    for layout, stand_in in (("csc", _Csc), ("csr", _Csr), ("coo", _Coo)):
        for module in (f"scipy.sparse.{layout}", f"scipy.sparse._{layout}"):
            for kind in ("matrix", "array"):
                table[(module, f"{layout}_{kind}")] = stand_in
    for module, name in (
        ("ch", "Ch"),
        ("reordering", "Select"),
        ("reordering", "Reshape"),
        ("reordering", "Transpose"),
    ):
        table[(f"chumpy.{module}", name)] = ChumpyStandIn
    return table


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows the names above and refuses every other, by name."""

    _table = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._table[(module, name)]
        except KeyError:
            raise UnpickleError(
                f"This file asks for {module}.{name}, which no body model needs. Don't use it; get the model from its "
                "official site."
            ) from None

    def persistent_load(self, pid: object) -> Any:
        raise UnpickleError("This file refers to data outside itself, which no body model does. Don't use it.")


def load_pickle(source: str | Path | BinaryIO) -> Any:
    """Read a pickle from a file. Raises UnpickleError for a refused or damaged one, OSError for an unreadable one."""
    if isinstance(source, (str, Path)):
        with open(source, "rb") as file:
            return load_pickle(io.BytesIO(file.read()))
    try:
        return RestrictedUnpickler(source, encoding="latin1").load()
    except UnpickleError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UnpickleError("This file is not a pickle, or is damaged. Download the model again.") from error


def dense_array(value: Any) -> NDArray[Any]:
    """An ordinary array from an array, a sparse matrix or a chumpy array. Raises UnpickleError for anything else."""
    if isinstance(value, (SparseStandIn, ChumpyStandIn)):
        return value.toarray()
    if isinstance(value, np.ndarray) and value.dtype == object and value.shape == ():
        return dense_array(value.item())
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    if isinstance(value, (int, float, np.generic)):
        return np.asarray(value)
    raise UnpickleError(f"A {type(value).__name__} stands where an array should. Download the model again.")
