"""From an ablation and its cells to a study that `reports` can show."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablations.ablation import Ablation
from ablations.grid import Cell
from ablations.outcome import pretraining_record
from mrcnn.config import Trial
from mrcnn.data.shapes import Shapes
from mrcnn.train import trunk_folder
from mrcnn.trunk import SmallResNet
from reports.study import Row, Study


def study_of(
    ablation: Ablation,
    cells: Sequence[Cell],
    runs: Path,
    command: str,
    looks: tuple[int, ...] = (),
) -> Study:
    """The study of all cells, with their records as they are now.

    looks   numbers of seeds at which the sweep could stop; rows may then have different numbers
    """
    rows = []
    for name in ablation.values:
        here = [cell for cell in cells if cell.row == name]
        rows.append(
            Row(
                name=name,
                value=repr(value_at(here[0].trial, ablation.field)),
                seeds=tuple(cell.seed for cell in here),
                folders=tuple(cell.folder for cell in here),
                records=tuple(cell.record for cell in here),
            )
        )
    first = cells[0].trial
    return Study(
        title=ablation.title,
        question=ablation.question,
        source=ablation.source,
        field=ablation.field,
        rows=tuple(rows),
        baseline=ablation.baseline_row,
        metrics=ablation.metrics,
        published=ablation.published,
        published_on=ablation.published_on,
        ours_on=described(first),
        comparable=not isinstance(first.model.backbone.trunk, SmallResNet),
        contrasts=ablation.contrasts,
        command=command,
        trunks=trunks_of(cells, runs),
        table=ablation.table,
        paired=ablation.paired,
        changes=ablation.changes,
        looks=looks,
    )


def trunks_of(cells: Sequence[Cell], runs: Path) -> tuple[Path, ...]:
    """The folders of the pretrained trunks that are there, each with its record, in order."""
    trials = [cell.trial for cell in cells if cell.trial.pretraining]
    folders = dict.fromkeys(trunk_folder(trial, runs) for trial in trials)
    ready = tuple(folder for folder in folders if (folder / "result.json").exists())
    for folder in ready:
        pretraining_record(folder)
    return ready


def described(trial: Trial) -> str:
    """Data, network and schedule of a trial, in words."""
    data = trial.data
    if isinstance(data, Shapes):
        on = f"Shapes, {data.size} px, {data.train} training and {data.val} validation images"
    else:
        on = f"the images of {Path(data.root).resolve().name}"
    trunk = trial.model.backbone.trunk
    backbone = type(trial.model.backbone).__name__
    if not isinstance(trunk, SmallResNet):
        net = f"ResNet-{trunk.depth}-{backbone}"
    elif backbone == "FPN":
        net = "small trunk with FPN"
    else:
        net = f"small trunk read at stride {_stride(trunk, backbone)} ({backbone})"
    return f"{on}, {net}, {trial.train.steps} steps of {trial.train.batch_size} images"


def _stride(trunk: SmallResNet, backbone: str) -> int:
    stride = 1
    for one in trunk.strides[: 4 if backbone == "C4" else 5]:
        stride *= one
    return stride


def value_at(spec: Any, path: str) -> Any:
    """The value of a field by its path."""
    for step in path.split("."):
        spec = getattr(spec, step)
    return spec
