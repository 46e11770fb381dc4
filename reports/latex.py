"""The results as a LaTeX table in the paper's layout: needs booktabs, and xcolor for the grey."""

import math
import re

from reports.stats import estimate
from reports.study import Row, Study
from reports.table import difference, published_change, published_metrics, values

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "²": "$^2$",
} | {c: f"\\{c}" for c in "&%$#_{}"}
KINDS = {"mask": "", "box": r"^{\mathrm{bb}}", "keypoint": r"^{\mathrm{kp}}"}
SIZES = {"small": "_S", "medium": "_M", "large": "_L"}


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is, on one line."""
    return "".join(SPECIAL.get(c, c) for c in " ".join(text.split()))


def head(metric: str) -> str:
    """A metric as the paper writes it, such as AP^{bb}_{50}; others by their own name."""
    found = re.fullmatch(r"(mask|box|keypoint) AP(\d\d)?(?: (small|medium|large))?", metric)
    if found is None:
        return escaped(metric)
    kind, iou, size = found.groups()
    below = f"_{{{iou}}}" if iou else SIZES.get(size, "")
    raised = KINDS[kind] + below
    return f"AP${raised}$" if raised else "AP"


def table(study: Study) -> str:
    """The whole environment: ours with half-widths over seeds, the published numbers in grey."""
    ours, theirs = study.metrics, published_in(study)
    columns = "l" + "r" * len(ours) + ("@{\\quad}" + "r" * len(theirs) if theirs else "")
    spans = [f"\\multicolumn{{{len(ours)}}}{{c}}{{ours}}"]
    rules = [f"\\cmidrule(lr){{2-{len(ours) + 1}}}"]
    if theirs:
        spans.append(f"\\multicolumn{{{len(theirs)}}}{{c}}{{{grey('paper')}}}")
        rules.append(f"\\cmidrule(lr){{{len(ours) + 2}-{len(ours) + len(theirs) + 1}}}")
    heads = [head(m) for m in ours] + [grey(head(m)) for m in theirs]
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage{xcolor}",
        f"% made by: {' '.join(study.command.split())}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption(study)}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        " & " + " & ".join(spans) + r" \\",
        "".join(rules),
        " & " + " & ".join(heads) + r" \\",
        "\\midrule",
        *(_line(row, study, theirs) for row in study.rows),
        *(["\\midrule"] if study.contrasts else []),
        *(_change(a, b, study, theirs) for a, b in study.contrasts),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def published_in(study: Study) -> tuple[str, ...]:
    """The metrics for which a number or a difference was published."""
    most = max((len(v) for _, _, v in study.changes), default=0)
    return max(published_metrics(study), study.metrics[:most], key=len)


def caption(study: Study) -> str:
    """What is asked, and of what data each group of columns is."""
    counts = sorted({len(row.finished) for row in study.rows})
    seeds = "1 seed" if counts == [1] else f"{'/'.join(map(str, counts))} seeds"
    said = f"\\textbf{{{escaped(study.title)}}}: {escaped(study.question)}"
    said += f" Ours: {escaped(study.ours_on)}; {seeds}"
    several = bool(counts) and max(counts) > 1
    said += r", $\pm$ half of the 95\% interval over them." if several else "."
    if study.contrasts and several:
        said += " Differences are paired by seed; theirs covers seeds and test images."
    if published_in(study):
        said += f" {grey('Paper')}: {escaped(study.published_on)}."
    return said


def grey(text: str) -> str:
    """Text in grey, as all published numbers are."""
    return f"\\textcolor{{gray}}{{{text}}}"


def _line(row: Row, study: Study, theirs: tuple[str, ...]) -> str:
    paper = dict(zip(study.metrics, study.published.get(row.name, ()), strict=False))
    cells = [_ours(row, m) for m in study.metrics]
    known = [math.isfinite(paper.get(m, math.nan)) for m in theirs]
    cells += [grey(f"{paper[m]:.1f}") if k else "--" for m, k in zip(theirs, known, strict=True)]
    return escaped(row.name) + " & " + " & ".join(cells) + r" \\"


def _ours(row: Row, metric: str) -> str:
    found = values(row.finished, metric)
    if not found:
        return "--"
    mean = estimate(found)
    if mean.half_width is None or not math.isfinite(mean.half_width):
        return f"{mean.value:.1f}"
    return f"{mean.value:.1f} {{\\scriptsize $\\pm$ {mean.half_width:.1f}}}"


def _change(a: str, b: str, study: Study, theirs: tuple[str, ...]) -> str:
    """A finding: the difference of two rows, paired by seed, beside the published one."""
    cells = []
    for metric in study.metrics:
        found = difference(study.row(a), study.row(b), metric, study.looks)
        cells.append("--" if found is None else _signed(found.value, found.half_width))
    for metric in theirs:
        paper = published_change(study, a, b, metric)
        cells.append("--" if paper is None else grey(_signed(paper, None)))
    return f"\\quad {escaped(a)} $-$ {escaped(b)} & " + " & ".join(cells) + r" \\"


def _signed(value: float, half_width: float | None) -> str:
    text = f"${value:+.1f}$"
    if half_width is None or not math.isfinite(half_width):
        return text
    return f"{text} {{\\scriptsize $\\pm$ {half_width:.1f}}}"
