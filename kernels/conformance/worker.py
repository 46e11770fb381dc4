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
from typing import Any

import torch
from torch import Tensor

from kernels.conformance.call import Answer, Mode, Violation, direct
from kernels.conformance.origin import loaded

STARTS_S = 120.0
PATIENCE_S = 20.0
COMPILES_S = 180.0
"""How long a worker may take to load its kernel, to answer a call, and to answer one that compiles.
A first call may compile too, so that it has the longer time."""


class Isolated:
    """A `Call` that runs in a worker process, which is started when first needed and again after
    every crash. Use it as a context: leaving it ends the worker.
    """

    def __init__(self, origin: str, *, patience_s: float = PATIENCE_S) -> None:
        self.origin, self.patience_s = origin, patience_s
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
        patience = COMPILES_S if self.fresh or mode == "compiled" else self.patience_s
        answer = self._answered(request, patience, "call")
        self.fresh = False
        if "violation" in answer:
            raise Violation(answer["violation"])
        answer["changed"] = tuple(answer["changed"])
        return Answer(**answer)

    def _start(self) -> None:
        ours, theirs = Pipe()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        command = [sys.executable, "-m", "kernels.conformance.worker", self.origin]
        self.process = subprocess.Popen(
            [*command, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what a kernel prints is not part of the answer
            stderr=self.errors,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        theirs.close()
        self.pipe, self.fresh = ours, True
        self._answered(None, STARTS_S, "start")

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
        code = self.process.wait(timeout=10)
        self.errors.seek(0)
        words = self.errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        if code < 0:
            return f"crashed: killed by {signal.Signals(-code).name}"
        return f"ended the process with exit code {code}" + (f": {words[-1]}" if words else "")

    def close(self) -> None:
        """End the worker, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.pipe is not None
            self.pipe.close()
            self.errors.close()
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


def main(origin: str, descriptor: int) -> None:
    """Load the kernel and answer calls until the other side is gone."""
    torch.set_num_threads(1)
    kernel = loaded(origin)
    call = direct(kernel.function, kernel.grads, kernel.takes)
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
            pipe.send_bytes(packed(answer))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
