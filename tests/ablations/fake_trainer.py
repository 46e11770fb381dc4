"""A trainer that costs nothing: it counts steps, keeps them, and scores by its configuration.

Called as the real one is. It notes each training it does in RUNS/trained.log.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

STEPS = int(os.environ.get("FAKE_STEPS", "3"))


def option(name):
    return sys.argv[sys.argv.index(name) + 1]


def main():
    stopped = []
    signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
    runs = Path(option("--runs"))
    with (runs / "trained.log").open("a") as log:
        log.write(f"{sys.argv[1]} {option('--trial')}\n")
    trial = json.loads(Path(option("--trial")).read_text())
    if sys.argv[1] == "pretrain":
        folder = Path(option("--trial")).parent
        (folder / "trunk.safetensors").write_text("weights")
        result = {
            "id": folder.name,
            "trunk": {},
            "config": {},
            "cost": {"train_s": 2.0},
            "made_by": {"code_id": "0"},
        }
        (folder / "result.json").write_text(json.dumps({**result, "history": []}))
        return
    out = Path(option("--out"))
    kind, seed = trial["model"]["roi_op"]["is"], trial["seed"]
    state = out / "resume.pt"
    start = int(state.read_text()) if state.exists() else 0
    for step in range(start, STEPS):
        parent_gone = os.getppid() != int(option("--parent"))
        if stopped or parent_gone:
            sys.exit(130)
        if kind == os.environ.get("FAKE_CRASH"):
            raise RuntimeError(f"out of memory in {kind}")
        if kind == os.environ.get("FAKE_KILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        state.write_text(str(step + 1))
        with (out / "progress.jsonl").open("a") as file:
            note = {"phase": "train", "step": step + 1, "of": STEPS, "loss": 1.0}
            file.write(json.dumps(note) + "\n")
        time.sleep(float(os.environ.get("FAKE_SLEEP", "0.01")))
    score = {"RoIPool": 27.0, "RoIWarp": 27.5, "RoIAlign": 30.0}[kind] + seed
    score += trial["model"]["roi_op"].get("reduce") == "mean"
    names = ("mask AP", "mask AP50", "mask AP75", "box AP", "box AP50", "box AP75")
    metrics = {name: score + 10 * i for i, name in enumerate(names)}
    made_by = {"code_id": os.environ.get("FAKE_CODE") or option("--code"), "device": "cpu"}
    cost = {"total_s": 2.0, "ms_per_step": 5.0, "parameters": 1e6}
    result = {"metrics": metrics, "cost": cost, "made_by": made_by, "data": {"name": "fake"}}
    history = [{"step": s + 1, "loss": 1.0 / (s + 1)} for s in range(STEPS)]
    (out / "result.json").write_text(json.dumps({**result, "history": history}))
    state.unlink()


if __name__ == "__main__":
    main()
