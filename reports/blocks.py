"""What a page of numbers is made of: sections of sentences, tables, pictures and flame bars."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports import strips
from reports.gate_words import Sentence
from reports.ink import Picture

FOLDED = 24
"""Rows from which on a table is folded away, as it is looked up rather than read."""
HUES = 10


@dataclass(frozen=True)
class Cell:
    """A cell with something drawn in it, and the text that stands for it in Markdown."""

    text: str
    drawn: Markup


Row = tuple[str | Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; its first `left` columns and those in `words` are text, the others are numbers."""

    name: str
    head: Row
    rows: tuple[Row, ...]
    left: int = 1
    words: tuple[int, ...] = ()
    note: str = ""

    def text(self, column: int) -> bool:
        """Whether a column, counted from 0, is text."""
        return column < self.left or column in self.words

    @property
    def drawn(self) -> bool:
        """Whether something is drawn in its cells."""
        return any(isinstance(cell, Cell) for row in self.rows for cell in row)

    @property
    def slim(self) -> bool:
        """Whether it is narrow: then it need not be as wide as the page."""
        cells = [len(c) for row in self.rows for c in row if isinstance(c, str)]
        return len(self.head) <= 6 and not self.drawn and max(cells, default=0) < 60

    @property
    def folded(self) -> bool:
        """Whether it is too long to be read in passing."""
        return len(self.rows) > FOLDED


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a flame bar: its name, its time in words, its share of the whole, its colour."""

    name: str
    took: str
    share: float
    hue: str


@dataclass(frozen=True, kw_only=True)
class Flame:
    """One pass, as wide as its time: the whole, and the stages it consists of, in their order."""

    name: str
    whole: str
    parts: tuple[Part, ...]
    width: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page: what it says first, then what shows it."""

    anchor: str
    title: str
    says: tuple[str, ...] = ()
    findings: tuple[Sentence, ...] = ()
    blocks: tuple[Table | Picture | Flame, ...] = ()

    @property
    def pictures(self) -> list[Picture]:
        """Its pictures, which lie beside the page as files too."""
        return [block for block in self.blocks if isinstance(block, Picture)]


def kind(block: Table | Picture | Flame) -> str:
    """What a template has to do with a block."""
    return type(block).__name__.lower()


def markdown(section: Section) -> str:
    """A section for a reader without a browser."""
    parts = [f"## {section.title}", *section.says]
    for block in section.blocks:
        if isinstance(block, Picture):
            parts.append(f"![{block.name}]({block.file})\n\n{block.caption}")
        elif isinstance(block, Flame):
            parts.append(_flame(block))
        else:
            text = _table(block)
            if block.folded:
                text = f"<details><summary>{block.name}</summary>\n\n{text}\n\n</details>"
            parts.append(text)
            parts += [block.note] if block.note else []
    return "\n\n".join(parts)


def _flame(flame: Flame) -> str:
    rows: list[Row] = []
    for part in flame.parts:
        rows.append((part.name, part.took, f"{100 * part.share:.1f} %", _blocks(part.share)))
    name = f"{flame.name}: {flame.whole}"
    return _table(Table(name=name, head=(name, "time", "share", ""), rows=tuple(rows)))


def _blocks(share: float) -> str:
    return "█" * round(20 * max(share, 0.0)) or "▏"


def _table(table: Table) -> str:
    head = [_text(cell) for cell in table.head]
    rule = "".join("|---" if table.text(i) else "|---:" for i in range(len(head))) + "|"
    lines = [f"| {' | '.join(head)} |", rule]
    lines += [f"| {' | '.join(map(_text, row))} |" for row in table.rows]
    return "\n".join(lines)


def _text(cell: str | Cell) -> str:
    text = cell.text if isinstance(cell, Cell) else cell
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def hues(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name, in their order; what is left over has none of its own."""
    found, used = {}, 0
    for name in dict.fromkeys(names):
        if name in ("the rest", "rest"):
            found[name] = "rest"
        else:
            found[name] = f"t{used % HUES}"
            used += 1
    return found


def duration(ms: float) -> str:
    """Milliseconds in the unit that reads best, three digits."""
    if ms >= 1000:
        return f"{ms / 1000:.3g} s"
    return f"{ms:.3g} ms" if ms >= 1 else f"{1000 * ms:.3g} µs"


def ratio_strip(ratio: Sequence[float], scale: strips.Scale, name: str) -> Cell:
    """A ratio as a cell: green where its interval lies above 1, red where it lies below."""
    middle, low, high = ratio
    text = f"{middle:.3g}"
    kind = "good" if low > 1 else "bad" if high < 1 else ""
    said = f"{name}: {middle:.3g}, {low:.3g} to {high:.3g}"
    return Cell(text, strips.strip(scale, middle, low, high, kind=kind, said=said))


def ratio_axis(scale: strips.Scale) -> Cell:
    """The head of a column of such cells."""
    return Cell("ratio", strips.axis(scale, strips.times, "times as fast, logarithmic"))
