"""`python -m ablations run` with the fake trainer, in a process of its own that starts in no time:
it is forked from one that has everything loaded. Of the pages it writes the table alone unless
they are asked for.
"""

import contextlib
import multiprocessing
import os
import sys
import time
from pathlib import Path

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["ablations.session", "ablations.cluster"])
TRAINER = (sys.executable, "-S", str(Path(__file__).with_name("fake_trainer.py")))


class Run:
    """A running `run`; `finish` gives its exit code, what it said, and its errors."""

    def __init__(self, runs, name="roi_layer", seeds="1", *, environment=None, **options):
        runs.mkdir(exist_ok=True)
        self.out, self.error = runs / "out.txt", runs / "error.txt"
        given = runs, name, str(seeds), self.out, self.error, environment or {}, options
        self.process = FORKED.Process(target=run, args=given)
        self.process.start()
        self.pid = self.process.pid

    def finish(self):
        self.process.join(300)
        assert self.process.exitcode is not None, "it goes on and on"
        return self.process.exitcode, self.out.read_text(), self.error.read_text()


def run(runs, name, seeds, out, error, environment, options):
    os.environ.update(environment)
    with (
        out.open("w") as said,
        error.open("w") as errors,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(errors),
    ):
        code = filled(runs, name, seeds, **options)
    sys.exit(code)


def filled(runs, name, seeds, *, accept=False, budget=None, ray=False, pages=False):
    import ablations.run
    from ablations.budget import Budget
    from ablations.cluster import Cluster
    from ablations.local import Local
    from ablations.session import leftover, written
    from ablations.setting import Setting
    from ablations.sweep import Sweep, asked, fill, seeds_of
    from ablations.watch import watching
    from mrcnn.provenance import code_id
    from reports.table import comparison, csv

    ablations.run.POLL_S = 0.01
    sweep = Sweep(asked(name), "smoke", seeds_of(seeds), runs, accept_old_code=accept)
    scratch = runs.parent / "scratch"
    engine = Cluster(runs=runs, limit=2, trainer=TRAINER, scratch=scratch) if ray else None
    engine = engine or Local(runs=runs, jobs=2, trainer=TRAINER)
    try:
        with watching() as watch:
            runner = ablations.run.Runner(
                runs=runs,
                engine=engine,
                watch=watch,
                setting=Setting(options=("--code", code_id())),
                accept_old_code=accept,
                budget=Budget(None if budget is None else time.monotonic() + budget),
            )
            outcome = fill(sweep, runner)
    except KeyboardInterrupt:
        return 130
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        engine.close()
    if pages:
        list(written(sweep))
    for one in sweep.names:
        sweep.page(one).mkdir(parents=True, exist_ok=True)
        (sweep.page(one) / "table.csv").write_text(csv(comparison(sweep.study(one))))
    if outcome.left:
        print(leftover(sweep, outcome.left, 2))
    return 1 if outcome.failed else 0
