"""A kernel in a process of its own: what crashes or hangs there is a finding here."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernels.conformance.call import Answer, Call, Mode, Violation, direct
from kernels.conformance.declaration import Kernel
from kernels.conformance.lanes import LANES, command_of, report_of
from kernels.conformance.origin import loaded

STARTS_S = 120.0
COMPILES_S = 180.0
"""How long a worker may take to load its kernel, and to answer a call that compiles, as a first one
may. Its lane says how long for any other call; one that is slower there is in all of this."""


class Isolated:
    """A `Call` that runs in a worker process, which is started when first needed and again after
    every crash. Use it as a context: leaving it ends the worker.

    kernel       is loaded there from its origin, in the environment of its lane
    tool         of compute-sanitizer that watches the worker
    patience_s   how long a call may take; None: as its lane says
    """

    def __init__(
        self, kernel: Kernel, *, tool: str | None = None, patience_s: float | None = None
    ) -> None:
        self.kernel, self.tool = kernel, tool
        self.lane = LANES[kernel.lane]
        self.patience_s = patience_s or self.lane.patience_s
        self.process: subprocess.Popen[bytes] | None = None
        self.pipe: Connection[Any, Any] | None = None
        self.fresh = True

    def __enter__(self) -> "Isolated":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(
        self,
        arguments: Mapping[str, Any],
        *,
        grad: Tensor | None = None,
        layout: str = "contiguous",
        mode: Mode = "eager",
    ) -> Answer:
        if self.process is None:
            self._start()
        request = {"arguments": dict(arguments), "grad": grad, "layout": layout, "mode": mode}
        compiles = self.fresh or mode == "compiled"
        patience = max(COMPILES_S, self.patience_s) if compiles else self.patience_s
        answer = self._answered(request, patience, "call")
        self.fresh = False
        if "violation" in answer:
            raise Violation(answer["violation"])
        answer["changed"] = tuple(answer["changed"])
        return Answer(**answer)

    def _start(self) -> None:
        assert self.kernel.origin is not None
        ours, theirs = Pipe()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self.reports = tempfile.TemporaryDirectory()
        watched = command_of(self.tool, Path(self.reports.name)) if self.tool else []
        command = [sys.executable, "-m", "kernels.conformance.worker", self.kernel.origin]
        path = os.pathsep.join(p for p in sys.path if p)
        self.process = subprocess.Popen(
            [*watched, *command, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what a kernel prints is not part of the answer
            stderr=self.errors,
            pass_fds=[theirs.fileno()],
            env={**os.environ, **self.lane.environment, "PYTHONPATH": path},
            start_new_session=True,  # so that what it starts can be ended with it
        )
        theirs.close()
        self.pipe, self.fresh = ours, True
        self._answered(None, max(STARTS_S, self.patience_s), "start")

    def _answered(
        self, request: Mapping[str, Any] | None, patience_s: float, what: str
    ) -> dict[str, Any]:
        assert self.pipe is not None
        try:
            if request is not None:
                self.pipe.send_bytes(packed(request))
            if not self.pipe.poll(patience_s):
                self.close()
                raise Violation(f"hangs: no answer to a {what} within {patience_s:.0f} s")
            return unpacked(self.pipe.recv_bytes())
        except (EOFError, OSError):
            raise Violation(self._post_mortem()) from None

    def _post_mortem(self) -> str:
        assert self.process is not None
        code = self.process.wait(timeout=self.patience_s)
        self.errors.seek(0)
        words = self.errors.read().decode(errors="replace").strip().splitlines()
        found = report_of(Path(self.reports.name)) if self.tool else ""
        self.close()
        if found:
            return f"{self.tool}: {found}"
        if code < 0:
            return f"crashed: killed by {signal.Signals(-code).name}"
        return f"ended the process with exit code {code}" + (f": {words[-1]}" if words else "")

    def finish(self) -> None:
        """Let the worker, if it runs, end by itself. Raises Violation for what its tool found."""
        if self.process is None:
            return
        assert self.pipe is not None
        self.pipe.close()
        try:
            code = self.process.wait(timeout=self.patience_s)
        except subprocess.TimeoutExpired:
            self.close()
            raise Violation(f"hangs: does not end within {self.patience_s:.0f} s") from None
        found = report_of(Path(self.reports.name)) if self.tool else ""
        self.close()
        if found:
            raise Violation(f"{self.tool}: {found}")
        if code:
            raise Violation(f"ended the process with exit code {code}")

    def close(self) -> None:
        """End the worker, if it runs, and what it has started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            assert self.pipe is not None
            self.pipe.close()
            self.errors.close()
            self.reports.cleanup()
        self.process = None


def packed(message: Mapping[str, Any]) -> bytes:
    """Tensors and plain values as bytes; nothing else can be in them."""
    buffer = io.BytesIO()
    torch.save(dict(message), buffer)
    return buffer.getvalue()


def unpacked(message: bytes) -> dict[str, Any]:
    """The inverse of `packed`; builds tensors and plain values only."""
    found: dict[str, Any] = torch.load(io.BytesIO(message), weights_only=True)
    return found


def in_process(kernel: Kernel) -> Call:
    """A kernel in this process. A result on another device than its lane's is a Violation: what
    moves to the CPU does not pass for code of a GPU.
    """

    def function(**given: Any) -> Any:
        out = kernel.function(**given)
        if isinstance(out, Tensor) and out.device.type != kernel.device:
            raise Violation(f"returned a tensor on {out.device.type}, not on {kernel.device}")
        return out

    return direct(function, kernel.grads, kernel.takes, kernel.device)


def main(origin: str, descriptor: int) -> None:
    """Load the kernel and answer calls until the other side is gone.

    What an error leaves of a GPU is of no use: the process then ends, and another is started.
    """
    torch.set_num_threads(1)
    kernel = loaded(origin)
    call = in_process(kernel)
    pipe: Connection[Any, Any] = Connection(descriptor)
    pipe.send_bytes(packed({"ready": True}))
    with contextlib.suppress(EOFError):
        while True:
            request = unpacked(pipe.recv_bytes())
            arguments = request.pop("arguments")
            try:
                answer = vars(call(arguments, **request))
            except Violation as violation:
                answer = {"violation": violation.text}
            if kernel.device == "cuda":
                settle()
            pipe.send_bytes(packed(answer))


def settle() -> None:
    """Wait for the GPU; end the process, in one line, if that says that the GPU is lost to it."""
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        sys.exit(str(error).partition("\n")[0])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
