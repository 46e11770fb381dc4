"""Each bug of GPU code is killed in the lanes that are said to see it, and survives in the others.

What is said of a GPU is tried where there is one.
"""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from kernels.conformance.by_lane import fate, fates_by_lane
from kernels.conformance.checks import checks_of
from kernels.conformance.declaration import declared_in
from kernels.conformance.lanes import SANITIZED
from kernels.conformance.zoo.gpu import BUGS, FILES, FOLDER, PLANTED

IN_LANE = [(one, lane) for one in PLANTED for lane in FILES[one.file]]
FAULTS = {
    "race": "a race",
    "missing_barrier": "shared memory that nobody in the block wrote",
    "unmasked_lane": "past the end of",
    "int_wrap": "'int' overflows",
    "uninitialised_shared": "shared memory that nobody in the block wrote",
    "lockstep": "shared memory that nobody in the block wrote",
}
"""What the emulation itself says of a specimen; the others give wrong numbers."""


def within(*lanes):
    """Specimens in these lanes, for a test each."""
    found = [
        pytest.param(one, lane, id=f"{one.title}-{lane}", marks=pytest.mark.lane(lane))
        for one, lane in IN_LANE
        if lane in lanes
    ]
    return pytest.mark.parametrize(("specimen", "lane"), found)


def test_every_bug_has_a_lane_that_sees_it_and_every_lane_is_spoken_of():
    assert {one.bug for one in PLANTED} == {*BUGS, None}
    assert len({one.title for one in PLANTED}) == len(PLANTED)
    for bug in BUGS:
        assert any(one.killed_by for one in PLANTED if one.bug == bug), bug
    for one in PLANTED:
        said = [*one.killed_by, *one.by_luck, *one.unseen]
        assert sorted(said) == (sorted(FILES[one.file]) if one.bug else []), one.title
        for check in (*one.killed_by.values(), *one.by_luck.values()):
            assert checks_of(one.operator, [check])


@pytest.mark.lane("interpreter")
@pytest.mark.parametrize("file", FILES)
def test_every_specimen_is_declared_and_nothing_else_is(file):
    declared = {(k.operator, k.name, k.lane) for k in declared_in(FOLDER / file)}
    told = {(one.operator, one.name, lane) for one, lane in IN_LANE if one.file == file}
    assert declared == told


@within("emulated")
def test_what_the_emulation_sees(specimen, lane):
    row = fate(specimen, lane, profile="quick", every_check=False)
    assert row["verdict"] == ("killed" if lane in specimen.killed_by else "survived"), row
    assert row["as_foretold"], row
    if lane in specimen.killed_by:
        said = FAULTS.get(specimen.name)
        assert said in row["why"] if said else "Fault" not in row["why"]


@pytest.fixture(scope="module")
def interpreted():
    """The rows of the interpreter, by specimen, from a process that interprets."""
    code = "import json; from kernels.conformance.by_lane import fates_by_lane as f;"
    code += "print(json.dumps(list(f(['interpreter'], every_check=False))))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stderr
    return {row["specimen"]: row for row in json.loads(done.stdout)}


@within("interpreter")
def test_what_the_interpreter_sees(interpreted, specimen, lane):
    row = interpreted[specimen.title]
    assert row["verdict"] == ("killed" if lane in specimen.killed_by else "survived"), row
    assert row["as_foretold"], row


@within("gpu", SANITIZED)
def test_what_a_gpu_shows(specimen, lane):
    row = fate(specimen, lane, profile="quick", every_check=False)
    assert row["verdict"] != "not run", row
    assert row["as_foretold"], row


def test_what_cannot_run_is_a_row_that_says_why(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    rows = list(fates_by_lane(["gpu"]))
    assert len(rows) == len(PLANTED)
    assert {(row["verdict"], row["why"]) for row in rows} == {("not run", "no GPU here")}
    assert json.loads(json.dumps(rows)) == rows


def test_a_lane_that_is_none_is_named():
    with pytest.raises(ValueError, match="did you mean 'emulated'"):
        next(fates_by_lane(["emulate"]))


MULTIPLIES = """
import triton.language as tl
from kernels.triton.interpreting import device
import triton

@triton.jit
def multiplies(a, found, guarded: tl.constexpr):
    i = tl.arange(0, 16)
    one = tl.load(a + i[:, None] * 16 + i[None, :])
    product = one[:, :, None] * one[None]
    if guarded:
        product = product + 0.0
    tl.store(found + i[:, None] * 16 + i[None, :], tl.sum(product, axis=1))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux only")
def test_no_sum_of_products_becomes_a_product_of_matrices(tmp_path):
    """Triton rewrites such a sum into tl.dot, in TF32: seen on a GPU as a wrong gradient."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from kernels.conformance.zoo.gpu import triton as specimens

    def dots(kernel, signature, constants):
        types = {**signature, **dict.fromkeys(constants, "constexpr")}
        made = compile(ASTSource(kernel, types, constants), target=GPUTarget("cuda", 90, 32))
        return made.asm["ttgir"].count("tt.dot")

    file = tmp_path / "multiplies.py"
    file.write_text(MULTIPLIES)
    spec = importlib.util.spec_from_file_location("multiplies", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    plain = module.multiplies
    pointers = {"a": "*fp32", "found": "*fp32"}
    assert dots(plain, pointers, {"guarded": False}) == 1
    assert dots(plain, pointers, {"guarded": True}) == 0
    sizes = dict.fromkeys(("channels", "height", "width", "high", "wide"), "i32")
    pool = {**dict.fromkeys(("maps", "rois", "other"), "*fp32"), **sizes, "scale": "fp32"}
    most = {"p_most": 2, "q_most": 4, "y_most": 16, "x_most": 16, "bug": ""}
    for backward in (False, True):
        assert dots(specimens._pool, pool, {**most, "backward": backward}) == 0
