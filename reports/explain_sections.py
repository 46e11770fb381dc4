"""The sections of the explain page: what each stage does, its pictures, its numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reports import roi_pictures, trace_pictures
from reports.figures import Picture
from reports.trace import Trace
from reports.trace_pictures import BEST

PAPER, FPN, FASTER = "He et al. 2017 (Mask R-CNN)", "Lin et al. 2017 (FPN)", "Ren et al. 2015"


@dataclass(frozen=True)
class Section:
    """One stage: what it does in a sentence, where that is written, its pictures, its numbers."""

    anchor: str
    title: str
    says: str
    source: str = ""
    pictures: Sequence[Picture] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = field(default=())


def stages(trace: Trace) -> Iterator[Section]:
    """Every stage that the trace has something of, in the order of the computation."""
    yield _results(trace)
    yield _input(trace)
    yield from _anchors(trace)
    yield _proposals(trace)
    yield _levels(trace)
    if trace.focus is not None:
        yield _layer(trace)
        yield _scores(trace)
        yield _refinement(trace)
    yield _final(trace)
    if trace.focus and trace.focus.get("mask"):
        yield _mask(trace)
    if trace.focus and trace.focus.get("keypoints"):
        yield _keypoints(trace)


def _results(trace: Trace) -> Section:
    found = [
        (f"{i}: {trace.label(d['label'])}", f"{d['score']:.3f}", boxed(d["box"]))
        for i, d in enumerate(trace.detections[:BEST])
    ]
    more = "" if len(trace.detections) <= BEST else f" The best {BEST} are shown."
    says = f"The network found {len(trace.detections)} objects.{more}"
    if trace.truth:
        says += f" {len(trace.truth)} are annotated."
    picture = Picture(
        "results.png", "Found", "Boxes, masks and scores.", trace_pictures.results(trace)
    )
    head = ("detection", "score", "box x1, y1, x2, y2")
    return Section("results", "What was found", says, "", [picture], head, found)


def _input(trace: Trace) -> Section:
    network = trace.about["network"]
    model = trace.about["model"]
    height, width = network["size"]
    says = (
        f"The image of {trace.size[1]} × {trace.size[0]} pixels is brought to {width} × {height}, "
        f"normalised as {model['pixel_order'].upper()}, and padded right and bottom with zeros, "
        f"the mean colour, to {network['padded'][1]} × {network['padded'][0]}, a multiple of "
        f"{model['pad_to']}."
    )
    rows = [(t["is"], said(t)) for t in trace.about["transforms"]]
    picture = Picture(
        "input.png", "Input", "Left the image, right what the network reads, turned back into "
        "colours; dashed: the image's edge in it.", trace_pictures.network_input(trace),
    )  # fmt: skip
    return Section("input", "Input", says, f"{PAPER}, sec. 3.1", [picture], ("transform", ""), rows)


def _anchors(trace: Trace) -> Iterator[Section]:
    levels, rule = trace.about["anchors"], trace.about["anchor_rule"]
    ratios = listed(rule["ratios"])
    total = sum(one["anchors"] for one in levels)
    says = (
        f"At every cell of every level the RPN starts from boxes of fixed sizes and ratios "
        f"(height / width {ratios}): {total} anchors."
    )
    picture = Picture(
        "anchors.png", "Anchors", "The anchors of one cell, marked by a cross, on each level.",
        trace_pictures.anchor_cells(trace),
    )  # fmt: skip
    head = ["stride", "map", "sizes", "anchors"]
    rows = [
        [one["stride"], f"{one['map'][1]} × {one['map'][0]}", listed(one["sizes"]), one["anchors"]]
        for one in levels
    ]
    pictures = [picture]
    matches = trace_pictures.anchor_matches(trace)
    if matches is not None:
        matching = rule["matching"]
        says += (
            f" In training an anchor is positive from an IoU of {matching['positive']:g} with an "
            f"object{' or where none overlaps it more' if matching['keep_best'] else ''}, negative "
            f"below {matching['negative']:g}, and ignored between."
        )
        caption = "The anchors that would be trained as objects, and those that would be ignored."
        pictures.append(Picture("matches.png", "Matches", caption, matches))
        names = ("positive", "ignored", "negative", "outside")
        head += [*names[:3], "outside the image"]
        rows = [row + [one[n] for n in names] for row, one in zip(rows, levels, strict=True)]
    yield Section(
        "anchors", "Anchors", says, f"{FASTER}, sec. 3.1.1 and 3.1.2", pictures, head, rows
    )
    picture = Picture(
        "objectness.png", "Objectness", "The largest objectness of the anchors of each cell"
        + ("; dashed: annotated boxes." if trace.truth else "."),
        trace_pictures.objectness(trace),
    )  # fmt: skip
    shared = "a backbone of its own" if trace.about["network"]["separate"] else "the same features"
    says = f"From {shared} the RPN says of each anchor how likely it shows any object at all."
    yield Section("objectness", "Objectness", says, f"{FASTER}, sec. 3.1", [picture])


def _proposals(trace: Trace) -> Section:
    rule, groups = trace.about["proposal_rule"], trace.about["proposals"]
    where = "of all levels" if rule["together"] else "of each level"
    says = (
        f"The best {rule['pre_nms']} anchors {where} are moved by their deltas and cut to the "
        f"image; a box that overlaps a better one by more than {rule['nms_iou']:g} is dropped, and "
        f"the best {rule['post_nms']} of the rest are the proposals."
    )
    head = ["stride", "anchors", "best", "not empty", "after NMS", "proposals"]
    rows = [[", ".join(map(str, g["strides"])), g["anchors"], g["ranked"], g["before"], g["after"],
             g["kept"]] for g in groups]  # fmt: skip
    caption = (
        f"Boxes before NMS by what becomes of them, and the proposals; at most "
        f"{trace_pictures.DRAWN}, the best of each level."
    )
    picture = Picture("nms.png", "NMS", caption, trace_pictures.suppression(trace))
    if trace.truth:
        says += f" {_followed(trace)}"
    return Section("proposals", "Proposals", says, f"{FASTER}, sec. 3.3; {PAPER}, sec. 3.1",
                   [picture], head, rows)  # fmt: skip


def _followed(trace: Trace) -> str:
    """The objects' best overlaps on the way, as a sentence."""

    def mean(way: str) -> float:
        return sum(t["overlaps"][way] for t in trace.truth) / len(trace.truth)

    steps = ("anchor", "decoded anchor", "proposal", "detection")
    path = ", ".join(f"{mean(s):.2f} by a {s}" for s in steps).replace("a anchor", "an anchor")
    return f"On average an object is overlapped at best {path}."


def _levels(trace: Trace) -> Section:
    network = trace.about["network"]
    count = network["roi_levels"]
    if count == 1:
        says = f"There is one map, of stride {network['strides'][0]}: every RoI is read there."
        source = f"{PAPER}, sec. 3, Network Architecture"
    else:
        says = (
            f"A RoI of side √(width × height) = {network['canonical_side']:g} is read at stride "
            "16, one half as large a level finer, one twice as large a level coarser; the ends "
            "take the rest."
        )
        source = f"{FPN}, eq. 1"
    caption = (
        "All proposals by the level that they are read from, and the best of each on the image; "
        "dotted: where levels change."
    )
    picture = Picture("levels.png", "Levels", caption, trace_pictures.levels(trace))
    return Section("levels", "Level of each RoI", says, source, [picture])


LAYERS = {
    "RoIAlign": "nothing is rounded: each bin reads regular points bilinearly",
    "RoIPool": "the box and its bins are rounded to whole cells, of which the largest counts",
    "RoIWarp": "the box is rounded to whole cells, then read bilinearly at regular points",
    "JitteredRoIAlign": "nothing is rounded: each bin reads points drawn at random bilinearly",
    "CropAndResize": "one point a bin is read bilinearly, the outermost on the box's corners",
}


def _layer(trace: Trace) -> Section:
    assert trace.focus is not None
    kind = trace.about["model"]["roi_op"]["is"]
    says = f"{kind}: {LAYERS.get(kind, 'features of a box are read')}. Shown is {_who(trace)}."
    rows = []
    for name in roi_pictures.branches(trace):
        about = trace.focus[f"{name}_layer"]
        rows.append([f"{name} branch", about["stride"], f"{about['bins']} × {about['bins']}",
                     about["reading"], boxed(about["frame"])])  # fmt: skip
    caption = (
        "Where features are read, over the image and over the strength of the map (root mean "
        "square over channels). The box branch reads the proposal, the others the final box."
    )
    picture = Picture("layer.png", "RoI layer", caption, roi_pictures.layer(trace))
    head = ("", "stride", "bins", "points", "box x1, y1, x2, y2")
    return Section("layer", "RoI layer", says, f"{PAPER}, sec. 3, RoIAlign; Table 2c", [picture],
                   head, rows)  # fmt: skip


def _who(trace: Trace) -> str:
    focus = trace.focus
    assert focus is not None
    name = trace.label(focus["label"])
    if focus["detection"] is None:
        return f"the proposal that came nearest to being detected, as {name}, {focus['score']:.3f}"
    return f"detection {focus['detection']}, {name}, {focus['score']:.3f}"


def _scores(trace: Trace) -> Section:
    says = f"A softmax over the classes and background says what the RoI of {_who(trace)} shows."
    caption = f"The {roi_pictures.CLASSES} most likely classes."
    picture = Picture("scores.png", "Scores", caption, roi_pictures.scores(trace))
    return Section("scores", "Class of the RoI", says, f"{PAPER}, sec. 3; Girshick 2015, sec. 2.1",
                   [picture])  # fmt: skip


def _refinement(trace: Trace) -> Section:
    focus = trace.focus
    assert focus is not None
    one = "one box for all classes" if focus["agnostic"] else "a box of its own for each class"
    says = f"Four deltas move and scale the proposal to the box of the object; here {one}."
    rows = []
    if focus["anchor"]:
        objectness = f"objectness {focus['anchor']['objectness']:.3f}"
        rows.append(["anchor", boxed(focus["anchor"]["box"]), objectness])
    dx, dy, dw, dh = focus["deltas"]
    rows.append(["proposal", boxed(focus["proposal"]), ""])
    deltas = f"dx {dx:+.2f}, dy {dy:+.2f}, dw {dw:+.2f}, dh {dh:+.2f}"
    rows.append(["decoded box", boxed(focus["decoded"]), deltas])
    picture = Picture("refinement.png", "Refinement", "The same object's box, step by step.",
                      roi_pictures.refinement(trace))  # fmt: skip
    return Section("refinement", "Box refinement", says, "Girshick et al. 2014, appendix C",
                   [picture], ("", "box x1, y1, x2, y2", ""), rows)  # fmt: skip


def _final(trace: Trace) -> Section:
    rule = trace.about["model"]["detection"]
    left = trace.about["pairs"]
    rows: list[Sequence[Any]] = [["pairs of a RoI and a class", "", left, left]]
    for reason, setting, count in trace.about["detection_drops"]:
        left -= count
        value = rule[setting.rpartition(".")[2]]
        rows.append([reason, f"{setting} = {value:g}", count, left])
    says = (
        f"Every class of every RoI that scores more than {rule['min_score']:g} is a candidate with "
        f"a box of its own; NMS class by class, then the best {rule['limit']} are kept."
    )
    caption = "Candidates by what becomes of them, the best first, and the detections."
    picture = Picture("candidates.png", "Candidates", caption, roi_pictures.candidates(trace))
    head = ("dropped because", "setting", "dropped", "left")
    return Section("final", "Threshold and NMS", says, f"{PAPER}, sec. 3.1, Inference", [picture],
                   head, rows)  # fmt: skip


def _mask(trace: Trace) -> Section:
    assert trace.focus is not None
    about = trace.focus["mask"]
    made = "a softmax over classes" if about["competing"] else "a sigmoid, class by class,"
    which = "the one mask of all classes" if about["agnostic"] else "the mask of its class alone"
    says = (
        f"For the final box the mask head gives {which}; {made} makes probabilities of the logits, "
        f"and these are pasted into the image ({about['paste']}) and cut at {about['threshold']:g}."
    )
    caption = f"The mask of {_who(trace)}: {roi_pictures.area(trace)} pixels of the image."
    picture = Picture("mask.png", "Mask", caption, roi_pictures.mask(trace))
    source = f"{PAPER}, sec. 3, Mask Representation, and sec. 3.1, Inference; Table 2b"
    return Section("mask", "Mask", says, source, [picture])


def _keypoints(trace: Trace) -> Section:
    assert trace.focus is not None
    about = trace.focus["keypoints"]
    says = "Each keypoint has a heat map over the final box, a softmax over its cells, and lies "
    says += f"where that is largest; its score is the {about['score']}."
    rows = [[str(i), f"{x:.1f}", f"{y:.1f}", f"{s:.3f}"]
            for i, (x, y, s) in enumerate(about["points"], start=1)]  # fmt: skip
    caption = f"The keypoints of {_who(trace)}, and the heat map of each; cross: its largest cell."
    picture = Picture("keypoints.png", "Keypoints", caption, roi_pictures.keypoints(trace))
    return Section("keypoints", "Keypoints", says, f"{PAPER}, sec. 5", [picture],
                   ("keypoint", "x", "y", "score"), rows)  # fmt: skip


def listed(numbers: Sequence[float]) -> str:
    """Numbers in a row, none longer than it has to be."""
    return ", ".join(f"{x:g}" for x in numbers)


def boxed(box: Sequence[float]) -> str:
    """A box to a tenth of a pixel."""
    return ", ".join(f"{round(x, 1) + 0.0:.1f}" for x in box)  # no -0.0


def compared(traces: Sequence[Trace]) -> Iterator[Section]:
    """Several traces side by side, if there are several and each has a RoI."""
    if len(traces) < 2 or not all(t.focus for t in traces):
        return
    rows = []
    for trace in traces:
        assert trace.focus is not None
        about = trace.focus["mask_layer" if "mask_layer" in trace.focus else "box_layer"]
        rows.append([trace.name, said(trace.about["model"]["roi_op"]), _who(trace),
                     about["stride"], boxed(about["frame"])])  # fmt: skip
    says = "The same layer of each network, at one scale: what it reads, over image and features."
    if not _same(traces):
        says += " These are not the same object: name one with --object, or --detection, of trace."
    caption = "Bins and points of each trace; a gap between box and bins is the misalignment."
    picture = Picture("beside.png", "Side by side", caption, roi_pictures.beside(traces))
    head = ("trace", "RoI layer", "shown", "stride", "box x1, y1, x2, y2")
    yield Section("beside", "Side by side", says, f"{PAPER}, sec. 3, RoIAlign; Fig. 3", [picture],
                  head, rows)  # fmt: skip


def _same(traces: Sequence[Trace]) -> bool:
    """Whether the followed boxes of all traces overlap that of the first by half or more."""
    boxes = [t.focus["decoded"] for t in traces if t.focus]
    return all(overlap(boxes[0], box) >= 0.5 for box in boxes[1:])


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(across, 0.0) * max(down, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return common / (areas - common) if areas > common else 0.0


def said(value: Any) -> str:
    """A component as it is written in Python, without the components inside it."""
    if not isinstance(value, Mapping):
        return str(value)
    inner = [f"{k}={said(v) if isinstance(v, Mapping) else repr(v)}"
             for k, v in value.items() if k not in ("is", "trunk", "levels")]  # fmt: skip
    return f"{value['is']}({', '.join(inner)})"
