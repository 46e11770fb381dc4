"""python -m mrcnn: train, evaluate, predict, and look at data and weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from kernels.command import RESUMES, command_line
from mrcnn.config import Trial
from mrcnn.spec import unknown
from mrcnn.trace_command import write_trace

RUNS = Path("reports/runs")

app = typer.Typer(
    help="""Train, evaluate and use Mask R-CNN.

    \b
    Examples:
      python -m mrcnn train --preset small_fpn
      python -m mrcnn train --preset small_c4 --set model.roi_op="RoIPool()" --seed 1
      python -m mrcnn train --preset r50_fpn --data coco/ --body resnet50.pth --device cuda
      torchrun --nproc-per-node 8 -m mrcnn train --preset r50_fpn --data coco --root coco/ \\
          --body resnet50.pth --device cuda --workers 4
      python -m mrcnn evaluate reports/runs/ID/model.safetensors
      python -m mrcnn predict reports/runs/ID/model.safetensors photo.jpg --out found/
      python -m mrcnn trace photo.jpg reports/runs/ID/model.safetensors --out trace/
      python -m mrcnn check-data coco/
      python -m mrcnn export-data shapes/ --set size=256
      python -m mrcnn diff torchvision detectron2_fpn
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)

TRAINED = (
    "A model.safetensors of a trial that differs only in how a trained network predicts: "
    "evaluate its weights, train nothing."
)
Runs = Annotated[Path, typer.Option(help="Where generated data, trunks and results are kept.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Changes = Annotated[
    list[str], typer.Option("--set", help="path=value, e.g. train.steps=300; may be repeated.")
]


@app.command()
def train(
    preset: Annotated[str, typer.Option(help="Where to start from; see `presets`.")] = "small_fpn",
    trial: Annotated[
        Path | None, typer.Option(help="A trial as JSON, instead of a preset.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="'shapes', or a folder in COCO's format; or 'coco'.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="COCO's folder, with --data coco.")] = None,
    changes: Changes = [],  # noqa: B006
    seed: Annotated[int | None, typer.Option(help="Instead of the trial's own.")] = None,
    body: Annotated[
        Path | None, typer.Option(help="A torchvision ResNet classifier's weights to start from.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default RUNS/<trial id>.")] = None,
    runs: Runs = RUNS,
    device: Device = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="PyTorch threads.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load images.")] = 0,
    kernels: Annotated[
        list[str] | None, typer.Option(help="operator=backend; may be repeated.")
    ] = None,
    trained: Annotated[Path | None, typer.Option(help=TRAINED)] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Train one trial and evaluate it. Stop it with Ctrl-C; the same command goes on.

    Under torchrun its processes share each batch, and the images to evaluate.
    """
    from contextlib import nullcontext

    from mrcnn.atomic import write_json
    from mrcnn.options import chosen_runtime, chosen_trial, with_body
    from mrcnn.progress import on_terminal, silent
    from mrcnn.provenance import trial_id
    from mrcnn.published import PUBLISHED, verdict
    from mrcnn.ranks import joined
    from mrcnn.spec import plain
    from mrcnn.train import refuse_uneven, run_trial

    runtime = chosen_runtime(device, threads, workers, kernels, parent)
    with joined(runtime.device) as ranks:
        wanted = ranks.first(
            lambda: with_body(chosen_trial(preset, trial, data, changes, seed, runs, root), body)
        )
        refuse_uneven(wanted.train, ranks)
        folder = out or runs / trial_id(wanted, wanted.data.hash(runs / "data"))
        if ranks.leads:
            write_json(folder / "trial.json", plain(wanted))
        with on_terminal() if ranks.leads else nullcontext(silent) as show:
            result = run_trial(wanted, folder, runs, runtime, show, ranks, trained)
    if not ranks.leads:
        return
    print_metrics(result["metrics"])
    typer.echo(f"wrote {folder}/result.json, model.safetensors, predictions.json")
    if trial is None and preset in PUBLISHED:
        seen, trained_on = wanted.data.open("val", runs / "data"), result["data"]["train_images"]
        typer.echo(verdict(preset, wanted, result["metrics"], seen, trained_on))


@app.command()
def pretrain(
    trial: Annotated[Path, typer.Option(help="The trial, as JSON, whose trunk is wanted.")],
    runs: Runs = RUNS,
    device: Device = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="PyTorch threads.")] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Pretrain a trial's trunk on dense labels, unless that was done before."""
    import torch

    from mrcnn.options import chosen_trial
    from mrcnn.progress import on_terminal
    from mrcnn.train import Interruptible, initial_weights, open_data

    wanted = chosen_trial("", trial, None, [], None, runs)
    if threads:
        torch.set_num_threads(threads)
    with on_terminal() as show, Interruptible(parent) as stop:
        initial_weights(wanted, open_data(wanted, runs)[0], runs, show, stop, device)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model.safetensors that `train` wrote.")],
    data: Annotated[
        str | None, typer.Option(help="'shapes', a folder, or 'coco'; default: its own.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="COCO's folder, with --data coco.")] = None,
    changes: Changes = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="Folder for result.json and more.")] = None,
    runs: Runs = RUNS,
    device: Device = "cpu",
) -> None:
    """Score a trained network on the validation images of its data, or of other data."""
    from mrcnn.atomic import write_json
    from mrcnn.checkpoint import load_model
    from mrcnn.evaluate import evaluate as score
    from mrcnn.options import assigned, usable, with_data
    from mrcnn.progress import on_terminal

    usable(device)
    network, trial, classes = load_model(model)
    trial = assigned(with_data(trial, data, root), changes, keep=("model",))
    dataset = trial.data.open("val", runs / "data")
    if len(dataset.classes) != len(classes):
        raise ValueError(f"{model} knows {len(classes)} classes, {dataset.name} has others")
    with on_terminal() as show:
        outcome = score(network.to(device), dataset, trial, show)
    folder = out or model.parent / "evaluation"
    write_json(folder / "predictions.json", outcome.predictions)
    write_json(folder / "result.json", {"metrics": outcome.metrics, "data": dataset.name})
    print_metrics(outcome.metrics)
    typer.echo(f"wrote {folder}/result.json, predictions.json")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model.safetensors.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for overlays and detections.json.")] = Path(
        "predictions"
    ),
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Shown and written from.")] = 0.5,
    device: Device = "cpu",
) -> None:
    """Find objects in image files: overlays to look at, and COCO-format JSON."""
    from mrcnn.checkpoint import load_model
    from mrcnn.options import usable
    from mrcnn.predict import predict_files
    from mrcnn.progress import on_terminal

    usable(device)
    network, trial, classes = load_model(model)
    with on_terminal() as show:
        predict_files(network.to(device), trial, classes, images, out, min_score, show)
    typer.echo(f"wrote overlays and detections.json to {out}")


@app.command("check-data")
def check_data(
    folder: Annotated[str, typer.Argument(help="A folder in COCO's format.")],
    split: Annotated[str | None, typer.Option(help="train or val; default both.")] = None,
) -> None:
    """Name, in one line each, what in a data set would break training."""
    from mrcnn.data.check import check
    from mrcnn.data.coco import CocoFolder

    if split not in (None, "train", "val"):
        raise ValueError(unknown(str(split), ["train", "val"], "split"))
    problems = []
    for name in ("train", "val"):
        if split in (None, name):
            problems += check(CocoFolder(root=folder), name)  # type: ignore[arg-type]
    for problem in problems:
        typer.echo(problem)
    typer.echo(f"{len(problems)} problems in {folder}")
    raise typer.Exit(1 if problems else 0)


@app.command("export-data")
def export_data(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    changes: Annotated[
        list[str], typer.Option("--set", help="path=value of Shapes, e.g. size=256 or train=100.")
    ] = [],  # noqa: B006
    runs: Runs = RUNS,
) -> None:
    """Write Shapes, the built-in data, as a folder in COCO's format."""
    from mrcnn.data.export import export
    from mrcnn.data.shapes import Shapes
    from mrcnn.progress import on_terminal
    from mrcnn.spec import assign

    data = assign(Shapes(), changes)
    with on_terminal() as show:
        for split in ("train", "val"):
            file = export(data.open(split, runs / "data"), out, split, show)  # type: ignore[arg-type]
            typer.echo(f"wrote {file}")


@app.command("convert-weights")
def convert_weights(
    weights: Annotated[
        Path, typer.Argument(help=".pth, .pkl, .h5 or .safetensors of another implementation.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    preset: Annotated[
        str, typer.Option(help="Whose choices it has: a peer, e.g. torchvision_coco_v1.")
    ] = "detected",
    to: Annotated[
        str | None, typer.Option(help="'torchvision': the other way, from a model of ours.")
    ] = None,
) -> None:
    """Turn another implementation's detector into a model that runs here, or one of ours into
    torchvision's.
    """
    from mrcnn.checkpoint import load_model, save_model
    from mrcnn.weights.converting import convert
    from mrcnn.weights.exporting import to_torchvision, write

    if to not in (None, "torchvision"):
        raise ValueError(unknown(str(to), ["torchvision"], "format to write"))
    if to is not None:
        exported = to_torchvision(load_model(weights)[0])
        write(exported, out)
        typer.echo(f"wrote {out}: {exported.summary}")
        return
    converted = convert(weights, preset)
    save_model(converted.model, converted.trial, out, converted.classes)
    typer.echo(f"wrote {out}: {converted.summary}")


def print_metrics(metrics: Mapping[str, float | None]) -> None:
    """One metric a line, in points; a dash where the data have no object to measure it on."""
    widest = max(map(len, metrics), default=0)
    for name, value in metrics.items():
        shown = "-" if value is None or value != value else f"{value:.1f}"
        typer.echo(f"{name:<{widest}} {shown:>6}")


@app.command()
def presets() -> None:
    """List the presets and how each differs from the default trial."""
    from mrcnn.presets import PRESETS
    from mrcnn.spec import diff

    for name, trial in PRESETS.items():
        typer.echo(name)
        for path, _, value in diff(Trial(), trial):
            typer.echo(f"    {path} = {value}")


@app.command()
def parity(
    folder: Annotated[
        Path, typer.Argument(help="With golden files; the reduced ones lie in tests/golden.")
    ] = Path("tests/golden"),
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
) -> None:
    """How far each preset is from its peer, stage by stage. Exit code 1 if a stage differs."""
    from mrcnn.verified import HEADER, verified

    differs = False
    if markdown:
        typer.echo(f"| {' | '.join(HEADER)} |\n{'|---' * len(HEADER)}|")
    for one in verified(folder):
        typer.echo(one.line(markdown=markdown))
        differs |= one.found is not None and not one.found.agrees
    raise typer.Exit(1 if differs else 0)


@app.command()
def diff(
    names: Annotated[
        list[str] | None, typer.Argument(help="Presets; default: the paper's and its peers'.")
    ] = None,
    every: Annotated[bool, typer.Option("--every", help="Also what they agree on.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
) -> None:
    """Show in which choices presets differ: a row for each field, a column for each preset."""
    from mrcnn.differences import table, typed
    from mrcnn.presets import PRESETS

    chosen = names or ["r50_fpn", "detectron_fpn", "detectron2_fpn", "mmdetection_fpn"]
    chosen = chosen if names else [*chosen, "torchvision", "torchvision_v2", "matterport"]
    for name in chosen:
        if name not in PRESETS:
            raise ValueError(unknown(name, list(PRESETS), "preset"))
    found = table({name: PRESETS[name] for name in chosen}, every=every)
    for line in typed(list(found), chosen, markdown=markdown):
        typer.echo(line)


app.command("trace")(write_trace)


if __name__ == "__main__":
    command_line(app, stopped=RESUMES)
