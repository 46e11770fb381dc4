"""The process whose instructions are counted: it prepares, warms up, and tells valgrind when.

Valgrind listens to a sequence of instructions that does nothing, with a request in a register. A C
macro writes it elsewhere; there need be no compiler here, so that its twenty-eight bytes are
written down, put into memory that may be executed, and called.
Source: valgrind.h, VALGRIND_DO_CLIENT_REQUEST_EXPR for amd64, and callgrind.h.
"""

import ctypes
import gc
import json
import mmap
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.benchmark import Benchmark

EMPTY, WORK = "empty", "work"
"""What is counted, in the mark of a dump; the number of the benchmark follows."""
MACHINE_CODE = bytes.fromhex(
    "4889f8"  # mov rax, rdi: the request and its arguments
    "31d2"  # xor edx, edx: the answer where valgrind does not listen
    "48c1c703"  # rol rdi, 3
    "48c1c70d"  # rol rdi, 13
    "48c1c73d"  # rol rdi, 61
    "48c1c733"  # rol rdi, 51: by 128 in all, so that rdi is as it was
    "4887db"  # xchg rbx, rbx: the request
    "4889d0"  # mov rax, rdx
    "c3"  # ret
)
RUNNING_ON_VALGRIND = 0x1001
CALLGRIND = ord("C") << 24 | ord("T") << 16
ZERO, DUMP_AT, START, STOP = (CALLGRIND + n for n in (1, 3, 4, 5))
WARM, WARM_S = 20, 3.0
"""Calls before counting, or seconds of them: until then Python adapts its code to what it sees."""

Request = Callable[[int, int], int]


def requests() -> Request:
    """A function (request, its argument) -> valgrind's answer; 0 where there is no valgrind.

    Raises OSError where memory may not be both written and executed.
    """
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(MACHINE_CODE)
    at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    call = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(at)

    def request(kind: int, argument: int = 0) -> int:
        given = (ctypes.c_long * 6)(kind, argument)
        return int(call(ctypes.addressof(given)))

    request.memory = memory  # type: ignore[attr-defined]  # it must live as long as the function
    return request


def count(run: Callable[[], object], calls: int, request: Request, number: int = 0) -> None:
    """Let valgrind count `calls` of an empty call and of `run`, and dump each count by its mark."""
    warm(nothing)
    warm(run)
    gc.collect()
    gc.disable()
    request(START, 0)
    for mark, call in ((EMPTY, nothing), (WORK, run)):
        text = ctypes.create_string_buffer(f"{mark} {number}".encode())
        place = ctypes.addressof(text)
        call()
        for _ in range(calls):
            request(ZERO, 0)
            call()
            request(DUMP_AT, place)
    request(STOP, 0)
    gc.enable()


def nothing() -> None:
    """A call that does nothing: what its count has, every count has."""


def warm(run: Callable[[], object]) -> None:
    """Call until nothing is done for the first time."""
    end = time.perf_counter() + WARM_S
    for _ in range(WARM):
        run()
        if time.perf_counter() > end:
            return


def main(folder: str, kernels: str, peer: str, names: str, calls: str, seed: str) -> None:
    """Count benchmarks of the side in a folder, one after the other; without valgrind, run them.

    names   as JSON. Once all is loaded an empty line of JSON is written, and then one for each:
            null, or why it was not counted
    """
    from benchmarks.gate.worker import Bench, said

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the work prints is no answer
    bench, request = Bench(peer == "peer"), requests()
    bench.listed(folder, kernels)
    print("{}", file=answers, flush=True)
    for number, name in enumerate(json.loads(names)):
        why = None
        try:
            if name not in bench.known:
                raise LookupError(f"there is no benchmark {name!r}")
            one_counted(bench.known[name], bench.peer, int(calls), int(seed), request, number)
        except Exception as error:
            why = said(error)
        print(json.dumps({name: why}), file=answers, flush=True)


def one_counted(
    one: "Benchmark", peer: bool, calls: int, seed: int, request: Request, number: int
) -> None:
    """Count one benchmark. Its answer is checked, before and after, outside of valgrind alone: so
    the same work runs first, and a check takes longer than what is counted.

    Raises ValueError for work that has no count, and what the work raises.
    """
    import torch

    prepare = one.peer if peer else one.prepare
    if prepare is None or one.threads != 1 or one.device != "cpu":
        has = "has no peer" if prepare is None else f"runs on {one.threads} x {one.device}"
        raise ValueError(f"only work on one thread of a CPU is counted, and this {has}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        ready = prepare(Path(made))
        slow = bool(request(RUNNING_ON_VALGRIND, 0))
        if not slow:
            ready.check()
        ready.renew(seed)
        count(ready.run, calls, request, number)
        if not slow:
            ready.check()
        ready.close()
