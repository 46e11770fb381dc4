"""Installed from its wheel, outside the checkout: the plugin works as it does here."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KERNELS = """
from kernels.conformance import kernel
from kernels.nms.reference import nms

@kernel("nms", name="theirs")
def theirs(boxes, scores, iou_threshold):
    return nms(boxes, scores, iou_threshold)
"""


@pytest.mark.slow
def test_the_wheel_holds_all_that_a_stranger_needs(tmp_path):
    """Needs the package index, for what builds the wheel."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(ROOT)]
    subprocess.run([*build, "--wheel-dir", str(tmp_path)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    assert {p.name for p in site.iterdir() if p.is_dir() and "-" not in p.name} == {
        "ablations",
        "benchmarks",
        "kernels",
        "mrcnn",
        "reports",
    }
    (tmp_path / "theirs.py").write_text(KERNELS)
    command = [sys.executable, "-m", "pytest", "--kernels", "theirs.py", "-k", "ties or order"]
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    where = [sys.executable, "-c", "import kernels; print(kernels.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.startswith(str(site))
