"""A toy repository and a toy suite: the gate's processes, git and all, on a clock that is not real.

The work of a toy kernel is a number of milliseconds by which a clock of its own process goes on,
with a little noise, so that a gate run takes seconds and always ends in the same way.
"""

import subprocess
from pathlib import Path

SUITE = '''
"""Each function of the side's file is a benchmark; "P" in front of its name: it has a peer."""
import os, random, runpy, time
from pathlib import Path
from benchmarks.benchmark import Benchmark, Ready

BROKEN = {}
now = [0.0]
time.perf_counter_ns = lambda: int(now[0] * 1e6)
time.perf_counter = lambda: now[0] / 1e3
noise = random.Random(int.from_bytes(os.urandom(8), "big"))
process = noise.gauss(0, NOISE)


def spend(ms):
    now[0] += ms * (1 + process + noise.gauss(0, NOISE))


def everything(names=()):
    return of_kernels(Path.cwd() / "work.py")


def of_kernels(file):
    found = {}
    for name, function in runpy.run_path(str(file), {"spend": spend}).items():
        if getattr(function, "__module__", "") == "<run_path>":
            found[name] = made(name, function)
    if not found:
        raise ValueError(f"{file}: declares no kernel")
    return found


def made(name, function):
    def check():
        assert getattr(function, "answer", 42) == 42, f"{name} answers {function.answer}"

    def ready(folder):
        getattr(function, "prepare", lambda folder: None)(folder)
        return Ready(run=function, check=check, renew=lambda seed: None)

    def peer(folder):
        return Ready(run=lambda: spend(20), check=check, renew=lambda seed: None)

    return Benchmark(
        name=name, prepare=ready, operator="toy", peer=peer if name[0] == "P" else None,
        ahead=4.0 if name == "Pfour" else None,
    )
'''
HERE = Path(__file__).resolve().parents[2]


def suite(folder: Path, noise: float = 0.002) -> Path:
    """A folder that comes first on the path of a side, in place of the real benchmarks."""
    inside = folder / "benchmarks"
    inside.mkdir(parents=True)
    for name in ("__init__.py", "benchmark.py", "worker.py"):
        (inside / name).symlink_to(HERE / "benchmarks" / name)
    (inside / "suite.py").write_text(SUITE.replace("NOISE", str(noise)))
    (folder / "torch.py").write_text("def set_num_threads(count): pass\n")
    (folder / "kernels.py").write_text("")
    return folder


def git(root: Path, *arguments: str) -> str:
    """What git prints in a repository of a test."""
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def repository(root: Path, *commits: dict[str, str]) -> Path:
    """A git repository with these states of its files, one commit each; None takes a file away."""
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch", "main")
    for number, files in enumerate(commits):
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--allow-empty", "-m", f"state {number}")
    return root


def work(**milliseconds: float | str) -> str:
    """A file of toy kernels: each takes so many milliseconds, or does what is written."""
    bodies = {
        name: f"spend({what})" if isinstance(what, (int, float)) else what
        for name, what in milliseconds.items()
    }
    return "".join(f"def {name}():\n    {body}\n\n\n" for name, body in bodies.items())
