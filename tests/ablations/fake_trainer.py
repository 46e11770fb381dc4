"""A trainer that costs nothing: it counts steps, keeps them, and scores by its configuration.

Called as the real one is. It notes each training it does in RUNS/trained.log, and evaluations of
another run's weights too.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

STEPS = int(os.environ.get("FAKE_STEPS", "3"))
SCORES = {"RoIPool": 27.0, "RoIWarp": 27.5, "RoIAlign": 30.0}
NAMES = ("mask AP", "mask AP50", "mask AP75", "box AP", "box AP50", "box AP75")


def option(name, default=None):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def main():
    stopped = []
    signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
    runs, trained = Path(option("--runs")), option("--trained")
    with (runs / "trained.log").open("a") as log:
        log.write(f"{'evaluate' if trained else sys.argv[1]} {option('--trial')}\n")
    trial = json.loads(Path(option("--trial")).read_text())
    if sys.argv[1] == "pretrain":
        pretrain(Path(option("--trial")).parent)
        return
    out = Path(option("--out"))
    weights = Path(trained).read_text() if trained else train(trial, out, stopped)
    theirs, seed = weights.split()
    score = SCORES[theirs] + 0.4 * int(seed) + 0.1 * (hash_of(trial["model"]["mask_loss"]) % 7)
    score += trial["model"]["roi_op"].get("reduce") == "mean"
    metrics = {name: score + 10 * i for i, name in enumerate(NAMES)}
    made_by = {"code_id": os.environ.get("FAKE_CODE") or option("--code"), "device": "cpu"}
    cost = {"total_s": 2.0, "train_s": 1.5, "ms_per_step": 5.0, "parameters": 1e6}
    result = {"metrics": metrics, "cost": cost, "made_by": made_by, "data": {"name": "fake"}}
    result["trained_by"] = Path(trained).parent.name if trained else None
    result["history"] = [{"step": s + 1, "loss": 1.0 / (s + 1)} for s in range(STEPS)]
    whole(out / "result.json", json.dumps(result))
    (out / "resume.pt").unlink(missing_ok=True)


def pretrain(folder):
    result = {"id": folder.name, "trunk": {}, "config": {}, "cost": {"train_s": 2.0}}
    result |= {"made_by": {"code_id": "0"}, "history": []}
    whole(folder / "result.json", json.dumps(result))
    whole(folder / "trunk.safetensors", "weights")


def train(trial, out, stopped):
    """Steps that can be interrupted; the weights are what was trained."""
    kind, state = trial["model"]["roi_op"]["is"], out / "resume.pt"
    start = int(state.read_text()) if state.exists() else 0
    for step in range(start, STEPS):
        if stopped or os.getppid() != int(option("--parent")):
            sys.exit(130)
        if kind == os.environ.get("FAKE_CRASH"):
            raise RuntimeError(f"out of memory in {kind}")
        if kind == os.environ.get("FAKE_KILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        whole(state, str(step + 1))
        with (out / "progress.jsonl").open("a") as file:
            note = {"phase": "train", "step": step + 1, "of": STEPS, "loss": 1.0}
            file.write(json.dumps(note) + "\n")
        time.sleep(float(os.environ.get("FAKE_SLEEP", "0.01")))
    weights = f"{kind} {trial['seed']}"
    whole(out / "model.safetensors", weights)
    return weights


def hash_of(value):
    return sum(json.dumps(value, sort_keys=True).encode())


def whole(path, text):
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    os.replace(draft, path)


if __name__ == "__main__":
    main()
