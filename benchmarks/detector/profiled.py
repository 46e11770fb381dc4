"""Which of PyTorch's operators a run spends its time in, and how much of it in none of them."""

import time
from collections import defaultdict
from contextlib import nullcontext
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.detector.stages import Case
from mrcnn.progress import Show, silent

PYTHON = "outside operators"
"""Python between two operators, and what PyTorch does before it knows which one is meant."""


def operators(
    case: Case, rounds: int = 3, threads: int = 1, show: Show = silent
) -> list[dict[str, Any]]:
    """Rows of one operator each, the slowest first: milliseconds and calls of a run, without what
    it calls; and its share of the run. On a CPU; recording makes a run a few percent slower.
    """
    torch.set_num_threads(threads)
    case.whole()
    spent: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    took = 0.0
    for number in range(rounds):
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as record:
            start = time.perf_counter()
            with torch.no_grad() if case.task == "inference" else nullcontext():
                case.whole()
            took += 1e3 * (time.perf_counter() - start) / rounds
        for event in record.key_averages():
            spent[event.key] += event.self_cpu_time_total / 1e3 / rounds
            calls[event.key] += event.count
        show(f"profile of {case.task}", number + 1, rounds)
    spent[PYTHON] = took - sum(spent.values())
    about = {"model": case.model, "pass": case.task, "threads": threads}
    return [
        {**about, "operator": name, "ms": ms, "calls": calls[name] // rounds, "share": ms / took}
        for name, ms in sorted(spent.items(), key=lambda item: -item[1])
    ]
