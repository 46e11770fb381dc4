"""Lanes: what passed where. None stands for a stronger one, and what cannot run is counted."""

import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import kernels
from kernels.__main__ import app
from kernels.command import command_line
from kernels.conformance.checks import ORACLES, checks_of
from kernels.conformance.declaration import Kernel, declared_in
from kernels.conformance.engine import check_kernel, watched
from kernels.conformance.lanes import LANES, SANITIZED
from kernels.conformance.own import own
from kernels.conformance.repro import explained, found
from kernels.conformance.results import as_junit, summary
from kernels.conformance.selection import chosen
from kernels.conformance.worker import in_process

IOU = kernels.operators()["box_iou"]
CUDA = """
extern "C" __global__ void iou(
    const float *a, const float *b, int *count, float *found, long long n, long long m) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n * m) return;
    const float *p = a + 4 * (i / m), *q = b + 4 * (i % m);
    const float wide = min(p[2], q[2]) - max(p[0], q[0]);
    const float high = min(p[3], q[3]) - max(p[1], q[1]);
    const float shared = max(wide, 0.0f) * max(high, 0.0f);
    const float both = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - shared;
    const int ticket = atomicAdd(count, 1);
    found[i] = both > 0 ? shared / both : ticket * 0.0f;
}
"""
BUGS = {
    "bounds": ("i >= n * m", "i > n * m"),
    "order": ("? shared / both", "? shared / both + (ticket != i)"),
}
THEIRS = """
from pathlib import Path
import torch, triton
import triton.language as tl
from kernels.conformance import kernel
from kernels.cuda import Program

def launched(name, a, b):
    found, count = a.new_empty(len(a), len(b)), torch.zeros(1, dtype=torch.int, device=a.device)
    program = Program(Path(__file__).with_name(f"{name}.cu"))
    grid = -(-found.numel() // 32)
    program.launch("iou", a, b, count, found, len(a), len(b), grid=grid, block=32)
    return found

@kernel("box_iou", name="right", lanes=["emulated", "gpu"])
def right(a, b):
    return launched("right", a, b)

@kernel("box_iou", name="bounds", lanes=["emulated", "gpu"])
def bounds(a, b):
    return launched("bounds", a, b)

@kernel("box_iou", name="order", lanes=["emulated"])
def order(a, b):
    return launched("order", a, b)

@triton.jit
def fill(a, b, found, n, m, OFF: tl.constexpr, SIZE: tl.constexpr):
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    here = i < n * m
    p, q = a + 4 * (i // m), b + 4 * (i % m)
    x1, y1 = tl.load(p, here, 0.0), tl.load(p + 1, here, 0.0)
    x2, y2 = tl.load(p + 2, here, 0.0), tl.load(p + 3, here, 0.0)
    u1, v1 = tl.load(q, here, 0.0), tl.load(q + 1, here, 0.0)
    u2, v2 = tl.load(q + 2, here, 0.0), tl.load(q + 3, here, 0.0)
    wide = tl.maximum(tl.minimum(x2, u2) - tl.maximum(x1, u1), 0.0)
    high = tl.maximum(tl.minimum(y2, v2) - tl.maximum(y1, v1), 0.0)
    shared = wide * high
    both = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared
    tl.store(found + i, tl.where(both > 0, shared / tl.where(both > 0, both, 1.0), 0.0) + OFF, here)

def tiled(a, b, off):
    found = a.new_empty(len(a), len(b))
    if found.numel():
        fill[(triton.cdiv(found.numel(), 64),)](a, b, found, len(a), len(b), off, 64)
    return found

@kernel("box_iou", name="tiles", lanes=["interpreter"])
def tiles(a, b):
    return tiled(a, b, 0)

@kernel("box_iou", name="tiles-off", lanes=["interpreter"])
def tiles_off(a, b):
    return tiled(a, b, 1)
"""


def written(folder):
    """A file of kernels with their .cu files beside it: right, out of bounds, bound to an order."""
    file = folder / "theirs.py"
    file.write_text(THEIRS)
    file.with_name("right.cu").write_text(CUDA)
    for name, (old, new) in BUGS.items():
        assert old in CUDA
        file.with_name(f"{name}.cu").write_text(CUDA.replace(old, new))
    return file


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    for lane in ("emulated", "interpreter"):
        if LANES[lane].missing():
            pytest.skip(f"lane {lane} not run: {LANES[lane].missing()}")
    return written(tmp_path_factory.mktemp("kernels"))


def command(*words, **environment):
    """`python -m kernels` on a machine without a GPU."""
    return subprocess.run(
        [sys.executable, "-m", "kernels", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
    )


@pytest.fixture
def command_here(monkeypatch, capsys):
    """`python -m kernels` in this process, which has loaded PyTorch: exit code and output."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["python -m kernels", *map(str, words)])
        with pytest.raises(SystemExit) as done:
            command_line(app)
        return done.value.code, capsys.readouterr().out

    return run


def test_a_declaration_gives_one_kernel_for_each_lane(theirs):
    titles = [k.title for k in declared_in(theirs)]
    assert titles[:3] == ["right[emulated]", "right[gpu]", "right[gpu+sanitizer]"]
    assert [k.device for k in declared_in(theirs)[:3]] == ["cpu", "cuda", "cuda"]
    assert len({k.origin for k in declared_in(theirs)}) == len(titles) == 9


def test_the_sanitizer_is_run_where_it_is_asked_for_alone(theirs):
    assert SANITIZED not in {k.lane for k in chosen(theirs, None, None)}
    asked_for = [k.title for k in chosen(theirs, None, None, [SANITIZED])]
    assert asked_for == ["right[gpu+sanitizer]", "bounds[gpu+sanitizer]"]
    with pytest.raises(ValueError, match="did you mean 'emulated'"):
        chosen(theirs, None, None, ["emulate"])


def test_every_backend_of_ours_has_its_lanes():
    lanes = {name: {k.title for k in own() if k.operator == name} for name in kernels.operators()}
    for titles in lanes.values():
        assert {"reference", "numba", "cuda[emulated]", "triton[interpreter]"} <= titles
        assert {"cuda[gpu]", "triton[gpu]", "cuda[gpu+sanitizer]"} <= titles
    assert {k.lane for k in own()} == set(LANES)
    assert found("nms", "cuda[emulated]", None).origin == "shipped:nms/cuda[emulated]"
    with pytest.raises(ValueError, match=r"no nms backend.*cuda\[emulated\]"):
        found("nms", "cuda[emulatd]", None)


def test_a_lane_that_is_none_is_named():
    with pytest.raises(ValueError, match="no lane"):
        Kernel(operator="box_iou", name="mine", function=IOU.reference, lane="gpus")


def test_what_cannot_run_is_counted_and_never_passed():
    absent = Kernel(operator="box_iou", name="mine", function=IOU.reference, needs=("no.such",))
    outcomes = list(check_kernel(absent))
    assert {o.verdict for o in outcomes} == {"not run"}
    assert {o.reason for o in outcomes} == {"no.such is not installed"}
    count = len(checks_of("box_iou"))
    expected = f"lane cpu               {count} not run (no.such is not installed)"
    assert summary(outcomes) == [expected]
    assert f'skipped="{count}"' in as_junit(outcomes)


def test_without_a_gpu_its_lane_is_not_run(theirs, tmp_path):
    """And the emulated one of the same kernel, which passes, is not it."""
    names = ("--backend", "right", "--check", "values", "--profile", "quick")
    done = command("check", theirs, *names, "--out", tmp_path / "out.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"lane emulated +1 passed; profile quick", done.stdout)
    assert re.search(r"lane gpu +1 not run \(no GPU here\)", done.stdout)
    assert re.search(r"lane gpu\+sanitizer +not asked for", done.stdout)
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [(r["lane"], r["verdict"]) for r in rows] == [("emulated", "passed"), ("gpu", "not run")]
    assert [r["profile"] for r in rows] == ["quick", ""]


def test_pytest_runs_one_lane_and_skips_the_other(theirs, tmp_path):
    words = ("-p", "no:cacheprovider", "--kernels", theirs, "-k", "right and values", "-rs", "-v")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *map(str, words)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert "box_iou/right[emulated]/float32/values PASSED" in done.stdout, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    assert "no GPU here" in done.stdout


def test_a_lane_that_needs_a_worker_is_not_run_without_one(theirs):
    for kernel in declared_in(theirs):
        here = replace(kernel, needs=())
        if here.lane in ("interpreter", SANITIZED) and here.missing is None:
            with pytest.raises(ValueError, match="needs a worker"):
                list(check_kernel(here, names=["values"], isolate=False))


def test_a_cuda_file_is_emulated_and_what_it_does_wrong_is_found(theirs, command_here):
    options = ("--lane", "emulated", "--check", "values", "--profile", "quick")
    code, said = command_here("check", theirs, "--backend", "bounds", *options)
    assert code == 1, said
    assert "box_iou/bounds[emulated]/float32/values: failed: raised Fault: iou:" in said
    again = re.search(r"repro '(\S+)'", said)[1]
    assert again.startswith("box_iou/bounds[emulated]/float32/values@")
    code, said = command_here("repro", again, "--kernels", theirs)
    assert code == 1
    assert "Fault" in said


def test_a_result_that_hangs_on_the_order_of_threads_is_found(theirs):
    """In the natural order it is right."""
    for name, expected in (("right", "passed"), ("order", "failed")):
        kernel = found("box_iou", f"{name}[emulated]", theirs)
        names = ["values", "orders"]
        outcomes = check_kernel(kernel, profile="quick", names=names, isolate=False)
        assert [o.verdict for o in outcomes] == ["passed", expected], name


def test_triton_is_interpreted_and_what_it_does_wrong_is_found(theirs):
    options = ("--lane", "interpreter", "--check", "values", "--profile", "quick")
    done = command("check", theirs, *options)
    assert done.returncode == 1, done.stderr
    assert re.search(r"tiles\[interpreter\] +1 passed", done.stdout)
    assert "box_iou/tiles-off[interpreter]/float32/values: failed" in done.stdout


def asked(a, b):
    """Noise from call to call, unless determinism was asked for."""
    asked.calls += not torch.are_deterministic_algorithms_enabled()
    return IOU.reference(a, b) * (1 + 1e-7 * (asked.calls % 2))


asked.calls = 0


def test_determinism_on_request_is_asked_for():
    verdicts = []
    for declared in ("on request", True):
        kernel = Kernel(operator="box_iou", name="m", function=asked, deterministic=declared)
        outcomes = check_kernel(kernel, names=["determinism"], profile="quick")
        verdicts += [o.verdict for o in outcomes]
    assert verdicts == ["passed", "failed"]
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_result_on_another_device_is_a_failure():
    """So a kernel that quietly moves to the CPU does not pass for one of a GPU."""

    def elsewhere(a, b):
        return torch.empty(len(a), len(b), device="meta")

    kernel = Kernel(operator="box_iou", name="elsewhere", function=elsewhere)
    (outcome,) = check_kernel(kernel, names=["values"])
    assert outcome.reason == "returned a tensor on meta, not on cpu"


SANITIZER = """#!/bin/sh
# As compute-sanitizer: --log-file FILE with %p for the process, then the command.
while [ "$1" != "--log-file" ]; do echo "$1" >> "$FAKE_OPTIONS"; shift; done
log=$(echo "$2" | sed "s/%p/$$/"); shift 2
"$@"; code=$?
[ "$FAKE_REPORT" ] && printf '========= COMPUTE-SANITIZER\\n%b\\n' "$FAKE_REPORT" > "$log"
exit ${FAKE_CODE:-$code}
"""
CLEAN = "========= ERROR SUMMARY: 0 errors"
FINDS = "========= Invalid __global__ read of size 4 bytes\\n========= ERROR SUMMARY: 1 error"


@pytest.fixture
def sanitizer(tmp_path, monkeypatch):
    """A stand-in for compute-sanitizer, first on PATH; returns the file of options it was given."""
    script = tmp_path / "compute-sanitizer"
    script.write_text(SANITIZER)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_OPTIONS", str(tmp_path / "options"))
    return tmp_path / "options"


@pytest.mark.parametrize(
    ("report", "code", "verdict", "said"),
    [
        (CLEAN, "", "passed", ""),
        (FINDS, "9", "failed", "ERROR SUMMARY: 1 error: Invalid __global__ read of size 4"),
        (CLEAN, "9", "failed", "exit code 9"),
        ("", "", "failed", "compute-sanitizer did not watch"),
    ],
)
def test_what_the_sanitizer_finds_at_the_end_is_a_failure(
    theirs, sanitizer, monkeypatch, report, code, verdict, said
):
    monkeypatch.setenv("FAKE_REPORT", report)
    monkeypatch.setenv("FAKE_CODE", code)
    kernel = found("box_iou", "right[emulated]", theirs)  # its process stands in for a GPU's
    memcheck = replace(checks_of("box_iou", ["memcheck"])[0], skipped=lambda kernel: None)
    outcome = watched(memcheck, kernel, "float32", "quick", None)
    assert (outcome.verdict, outcome.case) == (verdict, None), outcome
    assert said in outcome.reason
    options = sanitizer.read_text().split()
    assert options[:2] == ["--tool", "memcheck"]
    assert options[options.index("--error-exitcode") + 1] == "9"


FEW = (*ORACLES, "gradient", "empty")
OURS = [k for k in own() if k.lane in ("emulated", "interpreter")]


def few_checks(kernel):
    """(how many of a few checks in one dtype passed, what is said of those that did not)."""
    names = [c.name for c in checks_of(kernel.operator) if c.name in FEW]
    few = {"profile": "quick", "names": names, "dtypes": ["float32"]}
    outcomes = list(check_kernel(kernel, call=in_process(kernel), **few))
    bad = [explained(o, None) for o in outcomes if o.bad]
    return sum(o.verdict == "passed" for o in outcomes), bad


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """What the few checks find of all that is interpreted, from one process that interprets."""
    out = tmp_path_factory.mktemp("interpreted") / "found.json"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.kernels.test_lanes", str(out)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.mark.parametrize(
    "kernel",
    [pytest.param(k, id=f"{k.operator}-{k.title}", marks=pytest.mark.lane(k.lane)) for k in OURS],
)
def test_our_gpu_code_is_right_on_a_cpu(kernel, request):
    """A few checks in one dtype, without a worker; `python -m kernels check` has the rest."""
    assert kernel.missing is None
    if kernel.lane == "interpreter":
        passed, bad = request.getfixturevalue("interpreted")[kernel.origin]
    else:
        passed, bad = few_checks(kernel)
    assert not bad
    assert passed >= 2


if __name__ == "__main__":
    rows = {k.origin: few_checks(k) for k in OURS if k.lane == "interpreter"}
    Path(sys.argv[1]).write_text(json.dumps(rows))
