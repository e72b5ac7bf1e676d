"""Pickles of body models: what is admitted, and that nothing else is run."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.unpickle import UnpickleError, dense_array, load_pickle


class Hostile:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch '{self.path}'",))


def write(path: Path, value: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_hostile_pickle_is_refused_by_name_and_creates_no_file(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "trap"
    path = write(tmp_path / "model.pkl", {"v_template": Hostile(trap)}, protocol)
    with pytest.raises(UnpickleError, match=rf"{os.system.__module__}\.system"):
        load_pickle(path)
    assert not trap.exists()
    pickle.loads(path.read_bytes())  # noqa: S301 - the trap does work where nobody watches
    assert trap.exists()


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (b"cbuiltins\neval\n(S'1+1'\ntR.", "builtins.eval"),
        (b"cbuiltins\ngetattr\n.", "builtins.getattr"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"cnumpy.testing._private.utils\nruncstring\n.", "numpy.testing._private.utils.runcstring"),
        (b"\x80\x04\x8c\x05numpy\x94\x8c\x11ndarray.__class__\x94\x93.", "numpy.ndarray.__class__"),
        (b"ccopyreg\n__newobj__\n.", "copyreg.__newobj__"),
        (b"cscipy.sparse\nload_npz\n.", "scipy.sparse.load_npz"),
    ],
)
def test_names_that_no_body_needs_are_refused(tmp_path: Path, program: bytes, name: str) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(program)
    with pytest.raises(UnpickleError) as caught:
        load_pickle(path)
    assert f"asks for {name}," in str(caught.value)


def test_no_other_codec_than_latin1_is_let_in(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"c_codecs\nencode\n(S'aaaa'\nS'hex'\ntR.")
    with pytest.raises(UnpickleError, match="codec hex"):
        load_pickle(path)


def test_the_reconstructor_builds_stand_ins_only(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"ccopyreg\n_reconstructor\n(cnumpy\ndtype\nc__builtin__\nobject\nNtR.")
    with pytest.raises(UnpickleError, match="builds an object"):
        load_pickle(path)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("dtype", ["float64", "float32", "uint32", "int64"])
def test_arrays_come_back_as_they_were(tmp_path: Path, protocol: int, dtype: str) -> None:
    value = {"a": np.arange(12).reshape(3, 4).astype(dtype), "b": np.asfortranarray(np.eye(3, dtype=dtype))}
    read = load_pickle(write(tmp_path / "model.pkl", value, protocol))
    for key in value:
        assert read[key].dtype == value[key].dtype
        np.testing.assert_array_equal(read[key], value[key])


@pytest.mark.parametrize("layout", ["csc", "csr", "coo"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_sparse_matrices_of_scipy_come_back_dense(tmp_path: Path, layout: str, kind: str, protocol: int) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.random.default_rng(0).random((5, 40)) * (np.random.default_rng(1).random((5, 40)) > 0.8)
    value = getattr(sparse, f"{layout}_{kind}")(dense)
    read = load_pickle(write(tmp_path / "model.pkl", value, protocol))
    np.testing.assert_array_equal(dense_array(read), dense)


def test_a_sparse_matrix_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    path = write(tmp_path / "model.pkl", sparse.coo_matrix(([1.0], ([0], [0])), (10**8, 10**8)))
    with pytest.raises(UnpickleError, match="damaged"):
        dense_array(load_pickle(path))


def test_sparse_matrices_are_read_without_scipy(tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    path = write(tmp_path / "model.pkl", sparse.csc_matrix(np.eye(4)))
    code = (
        "import sys; sys.modules['scipy'] = None\n"
        "from pantomime.core.body.unpickle import dense_array, load_pickle\n"
        f"print(dense_array(load_pickle({str(path)!r})).sum(), 'scipy.sparse' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["4.0", "False"]


def chumpy_pickle(body: bytes) -> bytes:
    """A protocol 2 pickle of an instance of chumpy.ch.Ch with the given pickled state."""
    return b"\x80\x02cchumpy.ch\nCh\n)\x81" + body + b"b."


def test_chumpy_arrays_give_their_value(tmp_path: Path) -> None:
    state = pickle.dumps({"x": np.arange(6.0).reshape(2, 3), "label": None}, protocol=2)[2:-1]
    path = tmp_path / "model.pkl"
    path.write_bytes(chumpy_pickle(state))
    np.testing.assert_array_equal(dense_array(load_pickle(path)), np.arange(6.0).reshape(2, 3))


def test_a_chumpy_selection_gives_the_selected_values(tmp_path: Path) -> None:
    inner = chumpy_pickle(pickle.dumps({"x": np.arange(6.0)}, protocol=2)[2:-1])[2:-1]
    rest = pickle.dumps({"idxs": np.array([5, 1, 0, 2]), "preferred_shape": (2, 2)}, protocol=2)[2:-1]
    # the state: an empty dict, updated with "a" and then with the rest's items
    state = b"}X\x01\x00\x00\x00a" + inner + b"s"
    selection = b"\x80\x02cchumpy.reordering\nSelect\n)\x81" + state
    items = pickle.loads(b"\x80\x02" + rest + b".")  # noqa: S301 - written three lines up
    for key, value in items.items():
        selection += b"X" + len(key).to_bytes(4, "little") + key.encode() + pickle.dumps(value, protocol=2)[2:-1] + b"s"
    path = tmp_path / "model.pkl"
    path.write_bytes(selection + b"b.")
    np.testing.assert_array_equal(dense_array(load_pickle(path)), [[5.0, 1.0], [0.0, 2.0]])


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"not a pickle", b"\x80\x02}q\x00(X\x05\x00\x00\x00ab", b"\x00" * 100]
)
def test_damaged_pickles_give_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(UnpickleError, match="damaged"):
        load_pickle(path)


def test_an_object_array_is_not_taken_for_numbers() -> None:
    with pytest.raises(UnpickleError, match="where an array should"):
        dense_array(np.array([{}, {}], dtype=object))
