"""Made-up records of measurements, in the forms that `python -m benchmarks` writes."""

import json
import math
import random

ABOUT = {
    "code_id": "0123456789ab",
    "commit": "aaaabbbbcccc",
    "dirty": False,
    "python": "3.12.1",
    "torch": "2.14.1",
    "torchvision": "0.29.1",
    "device": "cpu",
    "processor": "A Processor of 2 GHz",
    "cores": 2,
    "threads": 1,
}
LAYOUTS = ("channels_last", "contiguous")


def judged(name, verdict, ratio, *, half=0.01, rounds=6, base_ms=10.0, sides=("base", "head")):
    """A benchmark of a gate: its samples scatter around the ratio it is given."""
    draw = random.Random(name)
    samples = []
    for number in range(rounds):
        for side, scale in zip(sides, (1.0, ratio), strict=True):
            ms = [base_ms * scale * math.exp(draw.gauss(0, 0.01)) for _ in range(4)]
            samples.append({"round": number, "block": 0, "side": side, "ms": ms})
    return {
        "name": name,
        "operator": name.split("/")[0],
        "verdict": verdict,
        "ratio": ratio,
        "low": ratio * math.exp(-half),
        "high": ratio * math.exp(half),
        "band": 0.03,
        "effect": 0.03,
        "detectable": 0.021,
        "rounds": rounds,
        "error": None,
        "samples": samples,
    }


def lost(name, error):
    """A benchmark without a number."""
    numbers = dict.fromkeys(("verdict", "ratio", "low", "high", "band", "detectable"))
    return {"name": name, "operator": "", "effect": 0.03, **numbers, "rounds": 0, "error": error,
            "samples": []}  # fmt: skip


def gate(*rows, exit_code=0, **more):
    """A gate's record."""
    return {
        "kind": "gate",
        "base": {"revision": "main", "commit": "1111222233334444", "dirty": False},
        "head": {"revision": "HEAD", "commit": "5555666677778888", "dirty": False},
        "against": None,
        "budget_s": 600.0,
        "looks": [6, 12, 24],
        "exit_code": exit_code,
        "benchmarks": list(rows),
        "new": [],
        "gone": [],
        "said": [],
        "made_by": ABOUT,
        **more,
    }


def mixed():
    """A gate's record with every verdict in it."""
    return gate(
        judged("roi_align/P2/float32/channels_last/forward", "SAME", 1.003),
        judged("nms/1k", "SLOWER", 1.123),
        judged("paste_masks/4k", "FASTER", 0.81, half=0.03),
        judged("box_iou/10k", "UNSURE", 1.02, half=0.05, rounds=24),
        lost("roi_pool/C4", "the head's process ended by signal 11 (segmentation fault)"),
        exit_code=2,
        new=["roi_warp/P3"],
        said=["the working tree has changes, which are not measured"],
    )


def against():
    """A gate's record of ours against torchvision's."""
    sides = ("torchvision", "ours")
    rows = [
        judged("nms/1k", "AHEAD", 1 / 24, half=0.1, sides=sides),
        judged("roi_pool/P2", "BEHIND", 1 / 1.1, half=0.05, sides=sides),
    ]
    return gate(*rows, exit_code=1, against="torchvision")


def timing(operator, shape, speed, *, layout="channels_last", threads=1, cache="hot", **more):
    """A timing of `python -m benchmarks run`: `speed` times as fast as the peer."""
    draw = random.Random(f"{operator}{shape}{layout}{threads}{cache}")
    ms = [4 / threads * math.exp(draw.gauss(0, 0.03)) for _ in range(9)]
    ms = [m * (1.6 if cache == "cold" else 1.0) for m in ms]
    row = {
        "name": f"{operator}/{shape}/float32/{layout}/forward",
        "workload": f"{operator}/{shape}",
        "operator": operator,
        "family": shape,
        "backend": "numba",
        "device": "cpu",
        "dtype": "float32",
        "layout": layout,
        "direction": "forward",
        "threads": threads,
        "cache": cache,
        "graph": False,
        "ours_ms": ms,
        "peer_ms": [speed * m for m in ms] if speed else [],
        "ratio": [speed, 0.94 * speed, 1.07 * speed] if speed else None,
        "bytes": 12_000_000,
        "operations": 30_000_000 if operator != "nms" else 400_000_000,
        "roof": 9e9 * threads**0.5,
        "flops_roof": 6e10 * threads,
        "of_roof": 0.3,
    }
    return row | more


def timings():
    """Timings of a small family, one of them slower than the peer, one without a peer."""
    speeds = {"roi_align": 24.0, "roi_pool": 0.9, "nms": 3.1, "box_iou": 1.02, "crop_masks": None}
    return {
        "timings": [
            timing(operator, shape, speed and speed * (1 + i / 9), layout=how, threads=n, cache=c)
            for operator, speed in speeds.items()
            for i, shape in enumerate(("P2", "P4"))
            for how in LAYOUTS
            for n in (1, 2)
            for c in ("hot", "cold")
        ],
        "made_by": ABOUT,
    }


SHARES = {
    "transform": 0.01,
    "backbone": 0.58,
    "rpn head": 0.14,
    "proposals": 0.03,
    "box features": 0.02,
    "box head": 0.08,
    "mask head": 0.11,
    "paste": 0.02,
    "the rest": 0.01,
}


def detector():
    """Stages of two models, and contests between them."""
    rows = []
    for model, scale in (("ours, 800x1216", 1.0), ("torchvision's, 800x1216", 1.3)):
        for stage, part in {**SHARES, "the whole": 1.0}.items():
            about = {"model": model, "pass": "inference", "threads": 2, "precision": "fp32"}
            ms = [2400 * scale * part * (1 + i / 100) for i in range(5)]
            rows.append({**about, "stage": stage, "ms": ms, "images": 1, "device": "cpu"})
    about = {"device": "cpu", "threads": 2, "precision": "fp32"}
    contests = [
        {**about, "name": "inference, 800 x 1216", "ours_ms": [2400.0] * 5, "peer_ms": [3100.0] * 5,
         "ratio": [1.29, 1.25, 1.34], "same": "boxes to 2e-4 px, scores to 1e-6"},
        {**about, "name": "a training step", "ours_ms": [900.0] * 5, "peer_ms": [890.0] * 5,
         "ratio": [0.99, 0.96, 1.02], "same": "losses to 1e-5"},
    ]  # fmt: skip
    return {"stages": rows, "contests": contests, "made_by": ABOUT}


def curve(what, variable, values, exponent, *, offset=0.2, memory=True, **more):
    """A scaling row: a law beside a constant, three processes a size."""
    draw = random.Random(what + variable)
    ms = [
        [(offset + 0.01 * v**exponent) * math.exp(draw.gauss(0, 0.02)) for _ in range(3)]
        for v in values
    ]
    return {
        "what": what,
        "variable": variable,
        "values": values,
        "ms": ms,
        "peak_mb": [0.02 * v if memory else 0.0 for v in values],
        "exponent": exponent,
        "low": round(exponent - 0.02, 2),
        "high": round(exponent + 0.02, 2),
        "from": values[len(values) // 2],
        "note": "",
        **more,
    }


def scaling():
    """Curves over RoIs, boxes and threads, and two largest sizes."""
    tens = [1, 10, 100, 1000, 10_000, 100_000]
    boxes = [1000, 3000, 10_000, 30_000, 100_000]
    rows = [
        curve("roi_align", "RoIs", tens, 1.0),
        curve("roi_pool", "RoIs", tens, 0.97),
        curve("nms", "boxes", boxes, 1.88),
        curve("box_iou", "boxes", boxes, 1.0, note="the law breaks at 30,000: out of the cache"),
        curve("roi_align", "threads", [1, 2], -0.93, offset=0.0, memory=False),
        curve("the detector", "image", [256, 512, 1024], 2.0),
    ]
    rows[-1] |= {"ms": [[40.0], [150.0], [620.0]], "exponent": None, "low": None, "high": None}
    largest = [
        {"what": "nms", "variable": "boxes", "value": 212_000, "limit_gib": 4.0, "note": ""},
        {"what": "the detector", "variable": "image", "value": 4096, "limit_gib": 8.0,
         "note": "larger ones were not tried"},
    ]  # fmt: skip
    return {"scaling": rows, "largest": largest, "made_by": ABOUT}


def series(name, levels, *, measure="time over torchvision's"):
    """A series whose level is that of each (runs, value), and its changes."""
    draw = random.Random(name)
    values = [value * math.exp(draw.gauss(0, 0.01)) for runs, value in levels for _ in range(runs)]
    points = [
        {"when": f"2026-0{1 + i // 28}-{1 + i % 28:02d}T03:00:00+00:00", "commit": f"{i:012x}",
         "value": v} for i, v in enumerate(values)
    ]  # fmt: skip
    changes, at = [], 0
    for (runs, before), (_, after) in zip(levels, levels[1:], strict=False):
        at += runs
        changes.append({"index": at, "ratio": after / before, "p": 1e-4})
    return {"name": name, "measure": measure, "where": "", "points": points, "changes": changes}


def trends():
    """A history with a slowdown, a gain, and a series that stays."""
    rows = [
        series("nms/1k", [(25, 0.3), (20, 0.345)]),
        series("roi_align/P2", [(15, 0.05), (30, 0.04)]),
        series("detector/small/inference", [(45, 120.0)], measure="ms"),
    ]
    return {"kind": "trends", "level": 0.01, "runs": 45, "series": rows}


def first():
    """First calls."""
    calls = {"nms": {"compiles_s": 2.1, "cached_s": 0.21}}
    return {"first_calls": calls, "made_by": ABOUT}


def fresh():
    """Fresh processes, rates, a profile, and what bf16 costs."""
    processes = [
        {"who": who, "task": task, "model": "full", "threads": 1, "compiled": True,
         "first_result_s": seconds + i / 10, "peak_mb": peak}
        for task in ("inference", "training step")
        for who, seconds, peak in (("ours", 6.1, 812.5), ("torchvision", 6.6, 1490.0))
        for i in range(3)
    ]  # fmt: skip
    rates = [
        {"what": "shapes", "workers": n, "images_per_s": [90.0 * (n or 1) + i for i in range(3)]}
        for n in (0, 1, 2)
    ]
    names = ("aten::convolution", "aten::addmm", "outside operators", *(f"op{i}" for i in range(9)))
    profile = [
        {"model": "ours, 800x1216", "pass": "inference", "threads": 1, "operator": name,
         "ms": 1000 / (i + 1), "calls": 10, "share": 0.1}
        for i, name in enumerate(names)
    ]  # fmt: skip
    cost = [{"model": "ours, random weights", "precision": "bf16", "matched": 95,
             "box_px": [0.11, 0.6, 2.5], "alone": [2, 3]}]  # fmt: skip
    groups = {"fresh": processes, "throughput": rates, "operators": profile, "precision": cost}
    return {**groups, "made_by": ABOUT}


def folder_of(folder, **records):
    """A folder with a file for each record."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, record in records.items():
        (folder / f"{name}.json").write_text(json.dumps(record))
    return folder


def whole(folder):
    """A folder with a record of every kind."""
    return folder_of(
        folder,
        speed=timings(),
        detector=detector(),
        scale=scaling(),
        trends=trends(),
        first=first(),
        gate=mixed(),
        fresh=fresh(),
        odd={"odd_rows": [{"model": "ours", "what": "odd", "some_mb": 812.5}], "made_by": ABOUT},
    )  # fmt: skip
