"""A GPU's streams, events and CUDA graphs, made up on a CPU.

What is launched while a graph is captured does not run: it is kept, and each replay runs it.
"""

from contextlib import contextmanager

import torch


class Gpu:
    """Stands in for torch.cuda. `log` has what was asked of it, `now` is its clock in ms."""

    def __init__(self):
        self.log, self.now, self.stream, self.capturing = [], 0.0, "usual", None

    def put_in_place(self, monkeypatch):
        gpu = self

        class Graph:
            def __init__(self):
                self.launched = []

            def replay(self):
                gpu.log.append("replay")
                for work in self.launched:
                    work()

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                gpu.log.append("event")
                self.at = gpu.now

            def elapsed_time(self, other):
                return other.at - self.at

        @contextmanager
        def graph(of):
            before, gpu.stream, gpu.capturing = gpu.stream, "of the capture", of
            try:
                yield
            except RuntimeError:
                gpu.capturing = None  # and the stream stays: PyTorch does not put it back then
                raise RuntimeError("failed due to a previous error during capture")  # noqa: B904
            gpu.stream, gpu.capturing = before, None

        made_up = {"CUDAGraph": Graph, "Event": Event, "graph": graph}
        made_up["synchronize"] = lambda: gpu.log.append("wait")
        made_up["current_stream"] = lambda: gpu.stream
        made_up["set_stream"] = lambda stream: setattr(gpu, "stream", stream)
        for name, value in made_up.items():
            monkeypatch.setattr(torch.cuda, name, value)

    def launch(self, work):
        """Run it, or in a capture keep it."""
        if self.capturing is None:
            work()
        else:
            self.capturing.launched.append(work)

    def wait(self):
        """What a call does that needs a number from the GPU."""
        if self.capturing is not None:
            raise RuntimeError("operation not permitted when stream is capturing")
