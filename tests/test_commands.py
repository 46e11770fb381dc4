"""Bad input, as a person gives it: one line that names it, exit code 2, nothing else lost."""

import importlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mrcnn.atomic import write_json
from mrcnn.checkpoint import save_model
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.spec import plain, vary

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments, cwd=ROOT):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with one of everything that can be wrong."""
    folder = tmp_path_factory.mktemp("place")
    trial = at_scale(R50_FPN, "smoke")
    save_model(MaskRCNN(trial.model), trial, folder / "good.safetensors", tuple("abcdefgh"))
    whole = (folder / "good.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    other = vary(trial, "model.num_classes", 3)
    save_model(MaskRCNN(trial.model), other, folder / "other.safetensors", tuple("abc"))
    torch.save({"roi_heads.something": torch.zeros(1)}, folder / "alien.pth")
    (folder / "evil.pth").write_bytes(evil(folder / "executed"))
    (folder / "broken.json").write_text("{")
    write_json(folder / "typo.json", plain(trial) | {"modell": 1})
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / "good.png")
    (folder / "bad.png").write_bytes(b"not a picture")
    coco = folder / "coco"
    (coco / "annotations").mkdir(parents=True)
    (coco / "annotations/instances_train.json").write_text('{"images": []}')
    (coco / "annotations/instances_val.json").write_text("{")
    (folder / "empty.py").write_text("x = 1\n")
    (folder / "crash.py").write_text("1 / 0\n")
    (folder / "runs/pages/page").mkdir(parents=True)
    (folder / "runs/pages/page/study.json").write_text('{"rows": []}')
    (folder / "file").write_text("a file where a folder should be")
    return folder


def evil(marker):
    """A pickle that would make a file if anybody unpickled it."""
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    return pickle.dumps({"weight": Evil()})


BAD = {
    "unknown command": (("mrcnn", "trian"), "trian"),
    "unknown option": (("mrcnn", "train", "--stepps", "3"), "--stepps"),
    "unknown preset": (("mrcnn", "train", "--preset", "smal_c4"), "did you mean 'small_c4'"),
    "unknown field": (("mrcnn", "train", "--set", "train.step=3"), "did you mean 'steps'"),
    "value of another type": (("mrcnn", "train", "--set", "train.steps=ten"), "must be int"),
    "negative size": (("mrcnn", "train", "--set", "train.batch_size=-1"), "batch_size"),
    "a change without =": (("mrcnn", "train", "--set", "train.steps"), "path=value"),
    "C4 without res5": (("mrcnn", "train", "--preset", "small_c4", "--set", "model.roi_trunk=None"), "roi_trunk"),
    "FPN strides not there": (("mrcnn", "train", "--set", "model.backbone.strides=(4, 7)"), "7"),
    "anchors for other levels": (
        ("mrcnn", "train", "--set", "model.rpn.anchors.sizes=((8.0,),)", "--set", "pretraining=None"),
        "anchor sizes",
    ),
    "trial that is no JSON": (("mrcnn", "train", "--trial", "broken.json"), "broken.json"),
    "trial with a typo": (("mrcnn", "train", "--trial", "typo.json"), "did you mean 'model'"),
    "data that are not there": (("mrcnn", "train", "--data", "nowhere"), "nowhere: no such folder"),
    "root without coco": (("mrcnn", "train", "--root", "coco"), "--root coco: goes with --data coco, got --data None"),
    "root of coco that is not there": (("mrcnn", "train", "--data", "coco", "--root", "nowhere"), "nowhere: no such folder"),
    "batch for no number of parts": (("mrcnn", "train", "--set", "train.accumulate=3"), "accumulate must divide batch_size"),
    "RPN first on shared features": (("mrcnn", "train", "--set", "train.rpn_steps=5"), "rpn_features"),
    "annotations cut off": (("mrcnn", "train", "--data", "coco"), "instances_val.json"),
    "unknown device": (("mrcnn", "train", "--device", "tpu9"), "tpu9"),
    "unknown operator": (("mrcnn", "train", "--kernels", "roi_aling=reference"), "did you mean 'roi_align'"),
    "unknown backend": (("mrcnn", "train", "--kernels", "roi_align=cuda"), "'cuda'"),
    "more classes than the data": (("mrcnn", "train", "--set", "model.num_classes=5"), "8 classes"),
    "runs in a file": (("mrcnn", "train", "--runs", "file"), "file"),
    "model that is not there": (("mrcnn", "predict", "no.safetensors", "good.png"), "no.safetensors"),
    "model cut off": (("mrcnn", "predict", "cut.safetensors", "good.png"), "cut.safetensors"),
    "model of another shape": (("mrcnn", "predict", "other.safetensors", "good.png"), "box_head.classes.bias: (9,), not (4,)"),
    "evaluation on no device": (("mrcnn", "evaluate", "good.safetensors", "--device", "tpu9"), "tpu9"),
    "image that is not there": (("mrcnn", "predict", "good.safetensors", "no.png"), "no.png"),
    "image that is none": (("mrcnn", "predict", "good.safetensors", "bad.png"), "bad.png"),
    "folder without images": (("mrcnn", "predict", "good.safetensors", "coco"), "no image files"),
    "score of 7": (("mrcnn", "predict", "good.safetensors", "good.png", "--min-score", "7"), "min-score"),
    "change of a trained network": (("mrcnn", "evaluate", "good.safetensors", "--set", "model.num_classes=2"), "trained"),
    "weights of something else": (("mrcnn", "convert-weights", "alien.pth", "--out", "x"), "roi_heads.something"),
    "weights with no such preset": (("mrcnn", "convert-weights", "alien.pth", "--out", "x", "--preset", "detectron2_fpm"), "alien.pth: names of no detector"),
    "weights for nobody": (("mrcnn", "convert-weights", "good.safetensors", "--out", "x", "--to", "torchvison"), "did you mean 'torchvision'"),
    "small weights for torchvision": (("mrcnn", "convert-weights", "good.safetensors", "--out", "x", "--to", "torchvision"), "torchvision's builders have no model.backbone.trunk=SmallResNet"),
    "weights that execute": (("mrcnn", "convert-weights", "evil.pth", "--out", "x"), "evil.pth: not readable as tensors"),
    "data exported to a file": (("mrcnn", "export-data", "file", "--set", "train=1", "--set", "val=1", "--runs", "runs"), "file"),
    "check of nothing": (("mrcnn", "check-data", "nowhere"), "nowhere"),
    "unknown ablation": (("ablations", "run", "roi_layr"), "did you mean 'roi_layer'"),
    "unknown scale": (("ablations", "plan", "roi_layer", "--scale", "smal"), "did you mean 'small'"),
    "no seeds": (("ablations", "plan", "roi_layer", "--seeds", "0"), "--seeds"),
    "change of the varied field": (("ablations", "plan", "roi_layer", "--set", "model.roi_op=RoIPool()"), "rows differ in"),
    "ablation that is none": (("ablations", "run", "empty.py"), "defines no ABLATION"),
    "ablation on no device": (("ablations", "run", "roi_layer", "--device", "tpu9", "--runs", "runs"), "tpu9"),
    "ablation that crashes": (("ablations", "run", "crash.py"), "ZeroDivisionError"),
    "no pages": (("reports", "render", "--pages", "coco"), "no page there"),
    "page that is broken": (("reports", "render", "runs/pages/page"), "not a study"),
    "outcomes that are none": (("reports", "conformance", "--outcomes", "broken.json"), "broken.json"),
    "no outcomes": (("reports", "conformance"), "--outcomes"),
    "unknown operator to check": (("kernels", "check", "--operator", "roi_alin"), "did you mean 'roi_align'"),
    "unknown backend to check": (("kernels", "check", "--operator", "nms", "--backend", "fast"), "'fast'"),
    "unknown check": (("kernels", "check", "--operator", "nms", "--check", "valeus"), "'valeus' is no check"),
    "unknown dtype": (("kernels", "check", "--operator", "nms", "--dtype", "float8"), "float8"),
    "unknown profile": (("kernels", "check", "--operator", "nms", "--profile", "hourly"), "hourly"),
    "kernels that are not there": (("kernels", "check", "nowhere.py"), "nowhere.py: no such file"),
    "kernels that declare none": (("kernels", "check", "empty.py"), "declares no kernel"),
    "kernels that crash": (("kernels", "check", "crash.py"), "ZeroDivisionError"),
    "case that is none": (("kernels", "repro", "nms/reference/float32/certificate@xyz"), "is no case"),
    "zoo of no operator": (("kernels", "sound", "nmss"), "did you mean 'nms'"),
    "unknown workload": (("benchmarks", "run", "roi_aling"), "did you mean 'roi_align'"),
    "dtype that is not timed": (("benchmarks", "run", "roi_align", "--dtype", "float8"), "'float8' is no dtype"),
    "layout there is not": (("benchmarks", "run", "--layout", "nhwc"), "choose from channels_last, contiguous"),
    "backend the detector has not": (("benchmarks", "detector", "--backend", "nonesuch"), "'nonesuch' is no backend on cpu"),
    "device that is not here": (("benchmarks", "detector", "--device", "tpu"), "device 'tpu' is not here"),
    "lane there is not": (("kernels", "check", "--lane", "gpuu"), "did you mean 'gpu'"),
    "two zoos at once": (("kernels", "zoo", "--lane", "emulated", "--operator", "nms"), "choose --operator or --lane"),
    "timings that are not there": (("reports", "speed", "nothere.json"), "nothere.json: not timings"),
}  # fmt: skip


def command_of(package):
    """What `python -m PACKAGE` runs."""
    module = importlib.import_module(f"{package}.__main__")
    return getattr(module, "main", None) or partial(module.command_line, module.app)


@pytest.fixture
def run_here(monkeypatch, capsys):
    """As `python -m PACKAGE ...` in this process: eighty processes would each load PyTorch."""

    def run(package, *arguments):
        monkeypatch.setattr(sys, "argv", ["python -m", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            command_of(package)()
        return done.value.code, capsys.readouterr()

    return run


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_one_line_and_exit_code_2(place, bad, monkeypatch, run_here):
    arguments, said = BAD[bad]
    if "train" in arguments and "--runs" not in arguments:
        arguments = (*arguments, "--runs", "runs")
    if "train" in arguments and not {"--trial", "--data"} & {*arguments}:
        arguments = (*arguments, "--set", "data.train=2", "--set", "data.val=2")
    monkeypatch.chdir(place)
    code, said_all = run_here(*arguments)
    error = said_all.err
    lines = [line for line in error.splitlines() if not line.startswith("drawing")]
    assert code == 2, error
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert not (place / "executed").exists()


def test_what_came_before_a_bad_image_is_kept(place, tmp_path):
    for name in ("a.png", "c.png"):
        Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"not a picture")
    out = tmp_path / "out"
    done = run("mrcnn", "predict", place / "good.safetensors", tmp_path, "--out", out)
    assert done.returncode == 2
    assert "b.png" in done.stderr
    assert (out / "0001-a.png").exists()
    kept = json.loads((out / "detections.json").read_text())
    assert [image["file_name"] for image in kept["images"]] == ["a.png"]


def test_check_data_exits_with_1_when_there_are_problems(run_here, tmp_path):
    from tests.mrcnn.data.test_coco import PROBLEMS, folder

    spec = folder(tmp_path, PROBLEMS["has no area"])
    code, said = run_here("mrcnn", "check-data", spec.root)
    assert code == 1
    assert "train: annotation 9: its box [2, 2, 0, 8] has no area" in said.out


def test_another_package_called_kernels_is_named(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels/__init__.py").write_text("def get_kernel(): ...\n")
    done = run("mrcnn", "presets", cwd=tmp_path)
    assert done.returncode != 0
    assert "not this project's package but one of the same name" in done.stderr
    assert str(tmp_path / "kernels") in done.stderr


def test_help_names_every_command(run_here):
    shown = run_here("mrcnn", "--help")[1].out
    for command in ("train", "evaluate", "predict", "check-data", "export-data", "convert-weights"):
        assert command in shown
