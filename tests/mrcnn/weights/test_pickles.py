"""Pickles of strangers: nothing in them runs, and the error says what they asked for."""

import io
import os
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch

from mrcnn.weights.pickles import ALLOWED, Restricted, load_torch
from mrcnn.weights.reading import read_weights


class Runs:
    """What a malicious file holds: calls `function(*arguments)` when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


PROTOCOLS = (0, 1, 2, 3, 4, 5)
ATTACKS = {
    "os.system": lambda marker: Runs(os.system, f"touch {marker}"),
    "builtins.eval": lambda marker: Runs(eval, f"open({str(marker)!r}, 'w')"),
    "io.open": lambda marker: Runs(open, str(marker), "w"),
    "numpy.load": lambda marker: Runs(np.load, str(marker)),
}
NAMED = {"os.system": "system", "io.open": "open", "builtins.eval": "eval", "numpy.load": "load"}


def refused(file, attack, marker):
    with pytest.raises(ValueError, match="not readable as tensors alone") as caught:
        read_weights(file)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(str(file))
    assert NAMED[attack] in said
    assert not marker.exists(), "it was executed"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_malicious_pkl_runs_nothing(tmp_path, attack, protocol):
    marker = tmp_path / "executed"
    content = {"model": {"weight": ATTACKS[attack](marker)}}
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(content, protocol))
    refused(tmp_path / "evil.pkl", attack, marker)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("attack", ["os.system", "builtins.eval", "io.open"])
def test_a_malicious_pth_runs_nothing(tmp_path, attack, zipped):
    marker = tmp_path / "executed"
    content = {"state_dict": {"weight": torch.ones(2)}, "meta": ATTACKS[attack](marker)}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "evil.pth", attack, marker)


def test_the_attacks_would_work_on_a_plain_unpickler(tmp_path):
    for attack in ("os.system", "builtins.eval", "io.open"):
        marker = tmp_path / attack
        opened = pickle.loads(pickle.dumps(ATTACKS[attack](marker)))
        if hasattr(opened, "close"):
            opened.close()
        assert marker.exists()


def test_a_global_of_torch_that_is_no_part_of_a_tensor_is_named(tmp_path):
    torch.save({"w": Runs(torch.hub.load, "a/b", "c")}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"asks for torch\.hub\.load"):
        read_weights(tmp_path / "evil.pth")


def test_only_what_arrays_are_made_of_can_be_looked_up():
    assert all(name.startswith(("numpy.", "_codecs.", "collections.")) for name in ALLOWED)
    with pytest.raises(pickle.UnpicklingError, match=r"asks for builtins\.getattr"):
        Restricted(io.BytesIO()).find_class("builtins", "getattr")


def test_codecs_do_nothing_but_latin1():
    with pytest.raises(pickle.UnpicklingError, match="'zip'"):
        ALLOWED["_codecs.encode"]("x", "zip")
    assert ALLOWED["_codecs.encode"]("\xe9", "latin1") == b"\xe9"


@pytest.fixture
def mmengine(monkeypatch):
    """Classes of the names that mmengine's have: synthetic, as no real file is at hand."""
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        ran = False

        def __init__(self):
            self._log_history = np.arange(3.0)
            self._count_history = np.arange(3)
            self._statistics_methods = OrderedDict(mean=HistoryBuffer.mean)

        def mean(self):
            return 0

        def __setstate__(self, state):
            HistoryBuffer.ran = True

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    HistoryBuffer.mean.__module__ = module.__name__
    HistoryBuffer.mean.__qualname__ = "HistoryBuffer.mean"
    module.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.mark.parametrize("zipped", [True, False])
def test_synthetic_mmengine_objects_become_nothing(tmp_path, mmengine, zipped):
    content = {
        "meta": {"epoch": 12, "dataset_meta": {"classes": ("cat", "dog")}, "seed": np.int64(3)},
        "message_hub": {"log_scalars": OrderedDict({"train/loss": mmengine.HistoryBuffer()})},
        "state_dict": OrderedDict({"backbone.conv1.weight": torch.ones(2, 3)}),
        "optimizer": {"state": {}},
    }
    torch.save(content, tmp_path / "epoch_12.pth", _use_new_zipfile_serialization=zipped)
    found = read_weights(tmp_path / "epoch_12.pth")
    assert list(found.tensors) == ["backbone.conv1.weight"]
    assert set(found.beside) == {"meta", "message_hub", "optimizer"}
    assert found.classes == ("cat", "dog")
    assert not mmengine.HistoryBuffer.ran
    hub = load_torch(tmp_path / "epoch_12.pth")["message_hub"]
    assert type(hub["log_scalars"]["train/loss"]).__name__ == "Nothing"
