"""The LaTeX table: a small parser reads it back, and catches what would not compile."""

import re

import pytest

from reports import latex
from tests.reports.made import record, study

COMMANDS = {
    "begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "cmidrule",
    "multicolumn", "textcolor", "textbf", "mathrm", "scriptsize", "pm", "times", "quad",
    "textbackslash", "textasciitilde", "textasciicircum",
}  # fmt: skip


def parsed(text):
    """The table's lines as lists of cells. Raises ValueError for what LaTeX would not take."""
    text = "\n".join(re.split(r"(?<!\\)%", line)[0] for line in text.split("\n"))
    opened = []
    for name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if name[0] == "begin":
            opened.append(name[1])
        elif not opened or opened.pop() != name[1]:
            raise ValueError(f"end of {name[1]} without its beginning")
    if opened:
        raise ValueError(f"{opened} not ended")
    plain = re.sub(r"\\[&%$#_{}\\]", "", text)
    if unknown := set(re.findall(r"\\([a-zA-Z]+)", plain)) - COMMANDS:
        raise ValueError(f"unknown {unknown}")
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            raise ValueError("a brace too many")
    if depth or plain.count("$") % 2:
        raise ValueError("braces or dollars do not match")
    outside = re.sub(r"\$[^$]*\$", "", plain)
    if re.search(r"[#_^~]", outside) or not text.isascii():
        raise ValueError("a character that LaTeX takes for something else")
    columns = re.search(r"tabular\}\{([^\n]*)\}", text)[1]
    width = len(re.sub(r"@\{[^}]*\}", "", columns))
    rows = re.findall(r"^(.*) \\\\$", text, re.M)
    cells = [re.split(r"(?<!\\)&", row) for row in rows]
    for row in cells:
        spans = sum(int(n) - 1 for n in re.findall(r"multicolumn\{(\d+)\}", "".join(row)))
        if len(row) + spans != width:
            raise ValueError(f"{len(row) + spans} cells, {width} columns")
    return [[cell.strip() for cell in row] for row in cells]


def a_study(tmp_path, **changes):
    rows = {
        n: [record(n, s, ap + s) for s in (0, 2)] for n, ap in (("pool", 22.0), ("align", 41.0))
    }
    return study(tmp_path, {**rows, "none_yet": [None]}, **changes)


def test_the_table_is_read_back(tmp_path):
    lines = parsed(latex.table(a_study(tmp_path)))
    assert lines[1][:5] == ["", "AP", "AP$_{50}$", "AP$_{75}$", r"AP$^{\mathrm{bb}}$"]
    pool, none = lines[2], lines[4]
    assert pool[0] == "pool"
    assert pool[1] == r"23.0 {\scriptsize $\pm$ 12.7}"
    assert pool[5:] == [r"\textcolor{gray}{26.9}", r"\textcolor{gray}{48.8}",
                        r"\textcolor{gray}{26.4}"]  # fmt: skip
    assert none == [r"none\_yet", *["--"] * 7]


def test_whatever_a_table_is_called_it_compiles(tmp_path):
    nasty = r"50% of R&D #1: a_b^c ~ {x} \input $5 − 3 × 2² ±"
    lines = parsed(latex.table(a_study(tmp_path, title=nasty, question=nasty, ours_on=nasty)))
    assert len(lines) == 6
    assert latex.escaped("a\n b") == "a b"


def test_findings_stand_below_the_rows_beside_what_was_published_of_them(tmp_path):
    """A difference is published by itself, or by the two rows' own numbers."""
    told = a_study(
        tmp_path,
        contrasts=(("align", "pool"),),
        changes=(("align", "pool", (3.4, 2.1)),),
        published={},
    )
    last = parsed(latex.table(told))[-1]
    assert last[0] == r"\quad align $-$ pool"
    assert last[1].startswith("$+19.0$")
    assert last[5:] == [r"\textcolor{gray}{$+3.4$}", r"\textcolor{gray}{$+2.1$}"]
    rows = a_study(tmp_path, contrasts=(("align", "none_yet"), ("align", "pool")), changes=())
    unknown, known = parsed(latex.table(rows))[-2:]
    assert unknown[1:5] == ["--"] * 4
    assert known[1].startswith("$+19.0$")


def test_without_published_numbers_there_are_no_grey_columns(tmp_path):
    lines = parsed(latex.table(a_study(tmp_path, published={})))
    assert len(lines[2]) == 5
    assert "gray" not in latex.table(a_study(tmp_path, published={}))


def test_a_published_number_that_is_not_known_is_no_number(tmp_path):
    published = {"pool": (float("nan"), 48.8), "align": (30.3, 51.2)}
    lines = parsed(latex.table(a_study(tmp_path, published=published)))
    assert lines[2][5:] == ["--", r"\textcolor{gray}{48.8}"]


@pytest.mark.parametrize(
    ("metric", "written"),
    [
        ("mask AP small", "AP$_S$"),
        ("keypoint AP75", r"AP$^{\mathrm{kp}}_{75}$"),
        ("mask AP, boxes given", "mask AP, boxes given"),
        ("gain_in_%", r"gain\_in\_\%"),
    ],
)
def test_heads(metric, written):
    assert latex.head(metric) == written


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\\_", "_"),
        ("\\bottomrule", "\\bottomrul"),
        (" & ", " "),
        ("{c}", "{c"),
        ("\\end{table}", ""),
    ],
)
def test_what_would_not_compile_is_caught(tmp_path, old, new):
    text = latex.table(a_study(tmp_path))
    assert old in text
    with pytest.raises(ValueError, match=r"\w"):
        parsed(text.replace(old, new, 1))
