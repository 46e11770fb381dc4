"""Formats told apart by their first bytes, wrappers taken off, and one line for what is broken."""

import pickle
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mrcnn.weights.reading import read_state_dict, read_weights, unwrapped

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, 2.0])}
ARRAYS = {name: tensor.numpy() for name, tensor in TENSORS.items()}


def same(found):
    assert set(found) == set(TENSORS)
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def torch_file(wrap, **options):
    return lambda path: torch.save(wrap(TENSORS), path, **options)


def pickled(wrap, protocol):
    return lambda path: path.write_bytes(pickle.dumps(wrap(ARRAYS), protocol))


FILES = {
    "safetensors": lambda path: save_file(TENSORS, path),
    "torch": torch_file(dict),
    "torch before 1.6": torch_file(OrderedDict, _use_new_zipfile_serialization=False),
    "torch, wrapped in state_dict": torch_file(lambda t: {"state_dict": t, "epoch": 3}),
    "torch, wrapped in model": torch_file(lambda t: {"model": t, "optimizer": {}, "iteration": 1}),
    "zoo .pkl": pickled(lambda a: {"model": a, "__author__": "Detectron2 Model Zoo"}, 2),
    "Detectron .pkl": pickled(lambda a: {"blobs": a, "cfg": "MODEL:\n"}, 2),
    "bare .pkl, protocol 0": pickled(dict, 0),
    "bare .pkl, protocol 4": pickled(dict, 4),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("ending", [".pth", ".pkl", ".bin"])
def test_a_format_is_known_by_its_content_whatever_it_is_called(tmp_path, kind, ending):
    FILES[kind](tmp_path / f"weights{ending}")
    same(read_state_dict(tmp_path / f"weights{ending}"))


def python2_pickle(array):
    """What Python 2's NumPy wrote, byte by byte: text as str, which Python 3 must read as latin-1.

    Synthetic: Detectron's own files are not at hand.
    """
    shape = b"".join(b"I%d\n" % side for side in array.shape)
    data = repr(array.tobytes().decode("latin1").encode("latin1"))[1:].encode()
    return (
        b"(dp0\nS'blobs'\np1\n(dp2\nS'conv1_w'\np3\n"
        b"cnumpy.core.multiarray\n_reconstruct\np4\n(cnumpy\nndarray\np5\n(I0\ntp6\nS'b'\np7\ntp8\n"
        b"Rp9\n(I1\n(" + shape + b"tp10\ncnumpy\ndtype\np11\n(S'f4'\np12\nI0\nI1\ntp13\nRp14\n"
        b"(I3\nS'<'\np15\nNNNI-1\nI-1\nI0\ntp16\nbI00\nS" + data + b"\np17\ntp18\nbss."
    )


def test_a_synthetic_latin1_pickle_of_python_2(tmp_path):
    array = np.array([[1.5, -200.25, 3e-8], [np.pi, 0, 255]], np.float32)  # bytes beyond ASCII
    (tmp_path / "R-50.pkl").write_bytes(python2_pickle(array))
    found = read_state_dict(tmp_path / "R-50.pkl")["conv1_w"]
    assert torch.equal(found, torch.from_numpy(array))


def test_a_big_endian_array_keeps_its_values(tmp_path):
    array = np.arange(4, dtype=">f4")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": array}))
    assert read_state_dict(tmp_path / "a.pkl")["a"].tolist() == [0, 1, 2, 3]


def test_hdf5_by_layer_and_kind_synthetic(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["conv1/conv1/kernel:0"] = np.ones((7, 7, 3, 64), np.float32)
        file["rpn_model/rpn_conv_shared/bias:0"] = np.zeros(512, np.float32)
        file["optimizer_weights/iterations:0"] = 3
    assert set(read_state_dict(tmp_path / "m.h5")) == {"conv1.kernel", "rpn_conv_shared.bias"}


def test_hdf5_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    with pytest.raises(ValueError, match=r"m\.h5: .*pip install 'mrcnn-lab\[h5\]'"):
        read_weights(tmp_path / "m.h5")


def broken(write):
    def make(path):
        write(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])

    return make


BAD = {
    "not there": (lambda path: None, "No such file"),
    "empty": (lambda path: path.write_bytes(b""), "no safetensors, torch, pickle or HDF5"),
    "text": (lambda path: path.write_text("weights"), "no safetensors, torch, pickle or HDF5"),
    "safetensors cut off": (broken(FILES["safetensors"]), "not readable"),
    "torch cut off": (broken(FILES["torch"]), "cut short"),
    "old torch cut off": (broken(FILES["torch before 1.6"]), "not readable"),
    "pickle cut off": (broken(FILES["zoo .pkl"]), "not readable"),
    "HDF5 cut off": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "not readable"),
    "a list": (lambda path: torch.save([1, 2], path), "must map names to tensors"),
    "objects": (
        lambda path: path.write_bytes(pickle.dumps({"a": np.array([{}], object)})),
        "a is a ndarray, no tensor",
    ),
    "nested": (lambda path: torch.save({"a": {"b": torch.ones(1)}}, path), "a is a dict"),
    "no tensor": (lambda path: torch.save({"a": 1}, path), "there is no tensor"),
    "numbers for names": (lambda path: torch.save({1: torch.ones(1)}, path), "1 is no name"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, bad):
    write, said = BAD[bad]
    path = tmp_path / "weights"
    write(path)
    with pytest.raises(ValueError, match=said) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_stands_beside_the_weights_is_reported():
    found = unwrapped({"model": TENSORS | {"note": "x"}, "optimizer": {}, "iteration": 3})
    assert found.beside == ("optimizer", "iteration", "note")
