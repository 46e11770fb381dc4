"""The family is whole, its names stay, its answers are checked and its samples honest."""

import itertools
from dataclasses import replace
from statistics import median

import pytest
import torch

from benchmarks import family as module
from benchmarks import timing
from benchmarks.family import (
    FAMILY,
    MEMBERS,
    Member,
    asked_for,
    chosen,
    ours,
    run_family,
    theirs,
)
from benchmarks.roofs import Roofs
from benchmarks.shapes import MAPS
from benchmarks.workloads import Place
from kernels import operators
from reports.speed import render_speed

TODAYS = {"device", "dtype", "layout", "threads", "workload", "backend", "graph", "ours_ms"}
TODAYS |= {"peer_ms", "operator", "bytes", "roof", "ratio", "of_roof"}
NEW = {"family", "direction", "cache", "operations", "flops_roof", "of_light", "name", "machine"}
SMALL = ("P5", "C5", "1k", "28x28")
PROVEN = [m for m in MEMBERS.values() if m.shape in SMALL] + [
    MEMBERS[n]
    for n in (
        "multilevel_roi_align/masks/float32/channels_last/forward",
        "paste_masks/800px/float32/contiguous/forward",
        "paste_masks/1080p_soft/float32/contiguous/forward",
    )
]


@pytest.fixture(autouse=True)
def _made_up_ceilings(monkeypatch):
    """Measured ones take seconds, and have tests of their own."""
    made_up = Roofs(
        device="cpu", threads=1, copy=((2**28, 1e10),), matmul={"float32": 1e11}, caches={}
    )
    monkeypatch.setattr(module, "roofs", lambda device, threads: made_up)


def test_every_operator_shape_dtype_layout_and_direction_is_there():
    one_map = ("roi_align", "roi_pool", "roi_warp", "crop_and_resize")
    dtypes, layouts = ("float32", "float16", "bfloat16"), ("channels_last", "contiguous")
    directions = ("forward", "with_backward")
    names = {"/".join(n) for n in itertools.product(one_map, MAPS, dtypes, layouts, directions)}
    assert len(names) == 4 * 7 * 3 * 2 * 2
    many = itertools.product(
        ("multilevel_roi_align",), ("pyramid", "masks"), dtypes, layouts, directions
    )
    names |= {"/".join(n) for n in many}
    boxes = itertools.product(("nms", "batched_nms", "box_iou"), ("1k", "10k", "100k"))
    images = [f"{s}{soft}" for s in ("800px", "1080p", "4k") for soft in ("", "_soft")]
    others = [*boxes, *(("paste_masks", s) for s in images), ("crop_masks", "28x28")]
    names |= {f"{o}/{s}/float32/contiguous/forward" for o, s in others}
    assert set(FAMILY) == set(MEMBERS) == names
    assert {b.operator for b in FAMILY.values()} == set(operators())
    assert all(name == benchmark.name for name, benchmark in FAMILY.items())


@pytest.mark.parametrize("member", PROVEN, ids=lambda m: m.name)
def test_answers_of_both_sides_are_right(member):
    place = member.place()
    assert timing.TOLERANCE[member.dtype]
    ours(member.workload, place, "numba").check()
    if member.workload.peer_at(place):
        theirs(member.workload, place).check()


def test_inputs_are_made_once_and_only_those_asked_for(tmp_path, monkeypatch):
    seeds, renew = [], module.Inputs.renew

    def counted(inputs, seed):
        seeds.append(seed)
        renew(inputs, seed)

    monkeypatch.setattr(module.Inputs, "renew", counted)
    ready = FAMILY["nms/1k/float32/contiguous/forward"].prepare(tmp_path)
    ready.check()
    ready.renew(3)
    ready.run()
    ready.run()
    assert seeds == [3]
    FAMILY["nms/1k/float32/contiguous/forward"].prepare(tmp_path).run()
    assert seeds == [3, 0]


def test_a_benchmark_is_ready_and_renewed_by_its_seed(tmp_path):
    benchmark = FAMILY["nms/1k/float32/contiguous/forward"]
    ready = benchmark.prepare(tmp_path)
    ready.check()
    ready.renew(3)
    (one,) = ready.run()
    ready.renew(4)
    (other,) = ready.run()
    ready.renew(3)
    assert torch.equal(ready.run()[0], one)
    assert not torch.equal(one, other)
    (peer,) = benchmark.peer(tmp_path).run()
    ready.renew(0)
    assert torch.equal(ready.run()[0], peer)
    assert benchmark.bytes(1) > 20_000
    assert benchmark.operations(1) > 1000 * 5
    ready.close()


def test_torchvision_has_no_bfloat16_and_no_crop_and_resize():
    assert FAMILY["roi_align/P2/bfloat16/channels_last/forward"].peer is None
    assert FAMILY["crop_and_resize/P2/float32/channels_last/forward"].peer is None
    with pytest.raises(ValueError, match="torchvision has no such operator"):
        theirs(MEMBERS["crop_and_resize/P2/float32/contiguous/forward"].workload, Place())


def test_what_is_promised_is_of_float32_forward_and_where_there_is_a_peer():
    promised = {name: b.ahead for name, b in FAMILY.items() if b.ahead is not None}
    assert all("/float32/" in n and n.endswith("/forward") and FAMILY[n].peer for n in promised)
    assert promised["batched_nms/100k/float32/contiguous/forward"] == 5.0
    assert promised["roi_align/C4/float32/contiguous/forward"] == 2.5
    assert promised["roi_align/masks/float32/contiguous/forward"] == 1.2
    assert promised["roi_align/masks/float32/channels_last/forward"] == 2.5
    places = [(m.workload.operator, m.shape, m.layout) for m in (MEMBERS[n] for n in promised)]
    assert set(module.AHEAD) <= {"/".join(p[:k]) for p in places for k in (1, 2, 3)}
    assert MEMBERS[NMS].benchmark("cuda").ahead is None


@pytest.mark.parametrize(
    ("name", "count"),
    [("roi_align/P2", 12), ("nms", 3), ("*/P5/float32/*/forward", 8), (None, 376)],
)
def test_names_stand_for_all_that_begin_so(name, count):
    assert len(chosen([name] if name else None)) == count


def test_a_name_may_say_its_dtype_and_nothing_asked_for_is_left_out_in_silence():
    half = "roi_align/P2/bfloat16/channels_last/forward"
    found = [m.name for m in asked_for([half, "roi_pool/P5", "nms/1k"], None, None)]
    assert found[0] == half
    assert found[-1] == NMS
    assert len(found) == 1 + 4 + 1
    assert all("roi_pool/P5/float32" in name for name in found[1:-1])
    assert len(asked_for(["roi_pool/P5"], ["float16"], ["contiguous"])) == 2
    with pytest.raises(ValueError, match="'roi_pool/P5': none in float64"):
        asked_for(["roi_pool/P5"], ["float64"], None)


def test_a_name_that_is_not_there_is_one_line_with_the_nearest():
    with pytest.raises(
        ValueError, match="'roi_aling/P2' is no benchmark; did you mean 'roi_align/P2'"
    ):
        run_family(["roi_aling/P2"])


def test_rows_have_all_of_todays_and_more_and_the_page_still_reads_them(tmp_path):
    shown = []
    rows = run_family(
        ["nms/1k", "crop_and_resize/P5/float32/contiguous"],
        rounds=3,
        cache=("cold", "hot"),
        show=shown.append,
    )
    assert shown == rows
    assert len(rows) == 2 * (1 + 2)
    for row in rows:
        assert set(row) >= TODAYS | NEW
        assert row["graph"] is False
        assert len(row["ours_ms"]) == 3
        seconds = median(row["ours_ms"]) / 1e3
        assert row["of_roof"] == pytest.approx(row["bytes"] / 1e10 / seconds)
        bound = max(row["bytes"] / 1e10, row["operations"] / 1e11)
        assert row["of_light"] == pytest.approx(bound / seconds)
        assert (row["ratio"] is None) == (row["operator"] == "crop_and_resize")
    file = tmp_path / "speed.json"
    timing_rows = {
        "timings": rows,
        "made_by": dict.fromkeys(
            ("processor", "cores", "torch", "torchvision", "commit", "code_id"), "x"
        )
        | {"device": "cpu"},
    }
    module_write(file, timing_rows)
    page = render_speed([file], tmp_path / "page")[0].read_text()
    assert "nms/1k/forward" in page


def module_write(file, value):
    from mrcnn.atomic import write_json

    write_json(file, value)


def planted(monkeypatch, name, wrong):
    """The member of this name, its numba backend changed by `wrong`."""
    member = MEMBERS[name]
    right = member.workload

    def of(backend):
        function = right.ours(backend)
        return (lambda **a: wrong(function(**a), a)) if backend == "numba" else function

    bad = replace(right)
    object.__setattr__(bad, "ours", of)
    monkeypatch.setitem(MEMBERS, name, replace(member, workload=bad))


NMS = "nms/1k/float32/contiguous/forward"
IOU = "box_iou/1k/float32/contiguous/forward"


def test_a_wrong_answer_is_not_timed_and_the_others_are(monkeypatch):
    planted(monkeypatch, NMS, lambda out, given: out.flip(0))
    shown, timed_at_all = [], []
    monkeypatch.setattr(timing, "cold", lambda run, device: timed_at_all.append(run) or 1.0)
    with pytest.raises(ValueError, match=f"could not measure {NMS} by numba: nms: numba is wrong"):
        run_family(["nms/1k", "box_iou/1k"], rounds=3, show=shown.append)
    assert [row["operator"] for row in shown] == ["box_iou"]
    assert len(timed_at_all) == 2 * 3  # both sides of box_iou alone


def test_an_answer_that_is_wrong_at_full_size_alone_is_not_timed(monkeypatch):
    planted(monkeypatch, IOU, lambda out, given: out * (1 if len(given["a"]) < 1000 else 0.9))
    with pytest.raises(ValueError, match="ours and torchvision's differ"):
        run_family(["box_iou/1k"], rounds=3)


def test_an_answer_that_turns_wrong_while_it_is_timed_is_not_kept(monkeypatch):
    calls = []

    def later(out, given):
        calls.append(1)
        return out * (1 if len(calls) < 4 else 0.5)

    planted(monkeypatch, IOU, later)
    with pytest.raises(ValueError, match="numba is wrong"):
        run_family(["box_iou/1k"], rounds=3)


def test_each_round_has_inputs_of_its_own_which_both_sides_share(monkeypatch):
    seen = []
    member = MEMBERS[NMS]
    peer = member.workload.peer
    spied = replace(member.workload, peer=lambda **a: seen.append(a["scores"]) or peer(**a))
    found = replace(member, workload=spied)
    clocked, cold = [], timing.cold
    monkeypatch.setattr(
        timing, "cold", lambda run, device: clocked.append(device) or cold(run, device)
    )
    module.timed(found, "numba", Place(), 4, "cold")
    rounds = seen[-5:-1]  # then the check
    assert len(clocked) == 8
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(rounds, 2))
    assert torch.equal(rounds[0], member.workload.arguments(member.place(), 1)["scores"])


class Replay:
    """A CUDA graph on a CPU: it makes the call again, on the inputs that it was captured on."""

    def __init__(self, run):
        self.found, self.run, self.times = run(), run, 0

    def replay(self):
        self.times += 1
        for one, new in zip(self.found, self.run(), strict=True):
            one.copy_(new)


@pytest.fixture
def graphs(monkeypatch):
    """Those captured, where what gives a list of indices cannot be."""
    made = []

    def captured(run):
        made.append(Replay(run))
        if made[-1].found[0].dtype == torch.long:
            raise RuntimeError("a CUDA graph cannot hold it: it waits")
        return made[-1], made[-1].found

    monkeypatch.setattr(timing, "captured", captured)
    return made


def test_replays_of_graphs_are_timed_in_place_of_calls(graphs):
    (row,) = run_family(["box_iou/1k"], rounds=3, graph=True)
    assert row["graph"] is True
    assert len(row["ours_ms"]) == len(row["peer_ms"]) == 3
    assert row["ratio"] is not None
    assert [graph.times for graph in graphs] == [1] * 2 * (1 + 3)  # tried first, then each round
    rounds = [graph.found[0] for graph in graphs[2:]]
    assert torch.allclose(rounds[0], rounds[1], atol=1e-5)  # both sides on the same inputs
    assert not torch.equal(rounds[0], rounds[2])


def test_ours_without_a_graph_is_named_and_the_others_are_measured(graphs):
    shown = []
    said = f"could not measure {NMS} by numba: a CUDA graph cannot hold it: it waits"
    with pytest.raises(ValueError, match=said):
        run_family(["nms/1k", "box_iou/1k"], rounds=3, show=shown.append, graph=True)
    assert [row["operator"] for row in shown] == ["box_iou"]


def test_a_peer_without_a_graph_has_no_times(graphs, monkeypatch):
    right, member = timing.captured, MEMBERS[IOU]
    peers = []
    peer = member.workload.peer
    spied = replace(member.workload, peer=lambda **a: peers.append(1) or peer(**a))

    def captured(run):
        before = len(peers)
        graph = right(run)
        if len(peers) > before:
            raise RuntimeError("a CUDA graph cannot hold it: it waits")
        return graph

    monkeypatch.setattr(timing, "captured", captured)
    found = replace(member, workload=spied)
    row = module.timed(found, "numba", found.place(), 3, "cold", graph=True)
    assert (len(row["ours_ms"]), row["peer_ms"], row["ratio"]) == (3, (), None)
    assert row["of_light"] > 0


def test_a_gpu_has_one_row_whatever_the_threads(monkeypatch):
    places = []

    def timed(member, backend, place, rounds, kept, *, graph):
        places.append((place.device, place.threads, backend))
        return {}

    monkeypatch.setattr(module, "timed", timed)
    for device in ("cpu", "cuda"):
        run_family(["nms/1k"], device, threads=(1, 2), backends=["b"])
    assert places == [("cpu", 1, "b"), ("cpu", 2, "b"), ("cuda", 1, "b")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kept", ["cold", "hot"])
def test_on_a_gpu_a_graph_is_as_fast_as_its_call_or_faster(kept):
    names, at = ["roi_align/P5/float32/channels_last"], {"device": "cuda", "cache": [kept]}
    calls, replays = (run_family(names, **at, graph=graph) for graph in (False, True))
    for call, replay in zip(calls, replays, strict=True):
        assert replay["ratio"] is not None
        assert median(replay["ours_ms"]) < 1.5 * median(call["ours_ms"])
    with pytest.raises(ValueError, match=f"could not measure {NMS} by .*cannot hold it"):
        run_family([NMS], **at, graph=True)
    assert run_family(names, **at, graph=True)  # a capture that failed spoils no other


def test_cold_calls_follow_a_flush_and_hot_ones_themselves(monkeypatch):
    order = []
    monkeypatch.setattr(timing, "flush", lambda device: order.append("flush"))
    timing.cold(lambda: order.append("run"), "cpu")
    assert order == ["flush", "run"]
    order.clear()
    timing.hot(lambda: order.append("run"), "cpu", 3)
    assert order == ["run"] * 4


def test_the_flush_is_larger_than_the_last_cache():
    timing._old_data.cache_clear()
    assert timing._old_data().numel() >= 4 * max(timing.caches("cpu").values(), default=0)
    assert timing._old_data().numel() >= 2**26


def test_short_calls_are_repeated_until_the_clock_can_tell(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def run():
        now[0] += 1e-4

    assert timing.calibrated(run, "cpu") == 16  # 16 x 0.1 ms, the first power of 2 above 1 ms
    assert timing.hot(run, "cpu", 16) == pytest.approx(0.1)


def test_lists_of_indices_differ_by_what_one_of_them_lacks():
    one, two = torch.tensor([1, 2, 3, 4]), torch.tensor([4, 3, 2, 9])
    assert timing.differing([one], [one.flip(0)], 0.0) == 0.0
    assert timing.differing([one], [two], 0.0) == 0.25
    assert timing.differing([one], [one[:2]], 0.0) == 0.5
    values = torch.tensor([1.0, 2.0, float("nan"), 4.0])
    assert timing.differing([values], [torch.tensor([1.0, 2.0, 3.0, 4.1])], 0.01) == 0.5
    assert timing.differing([values], [values[:2]], 1.0) == 1.0
    bits = torch.tensor([True, False])
    assert timing.differing([bits], [~bits], 0.0) == 1.0


def test_what_torchvision_is_held_to_can_fail():
    right = MEMBERS["roi_align/P2/float32/channels_last/forward"].workload
    shift = torch.tensor([0.0, 2.0, 2.0, 2.0, 2.0])  # of the corners, not of the image's index
    shifted = lambda **a: right.peer(**{**a, "rois": a["rois"] + shift})  # noqa: E731
    with pytest.raises(AssertionError, match="torchvision's is another function"):
        theirs(replace(right, peer=shifted), Place()).check()


def test_members_run_by_the_backend_named():
    member = Member(shape="x", workload=MEMBERS[NMS].workload)
    ready = member.benchmark(backend="torchvision").prepare(None)
    assert torch.equal(ready.run()[0], member.benchmark().prepare(None).run()[0])
