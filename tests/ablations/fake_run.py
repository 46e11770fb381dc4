"""`python -m ablations run roi_layer` with the fake trainer: FOLDER SEEDS [--accept]."""

import sys
from pathlib import Path

from ablations.grid import cells, named
from ablations.run import Runner
from ablations.study import study_of
from ablations.watch import watching
from mrcnn.provenance import code_id
from reports.page import render

runs, seeds = Path(sys.argv[1]), int(sys.argv[2])
trainer = Path(__file__).with_name("fake_trainer.py")
ablation = named("roi_layer")
grid = cells(ablation, "smoke", seeds, runs)
try:
    with watching() as watch:
        command = (sys.executable, str(trainer))
        runner = Runner(
            runs=runs, jobs=2, watch=watch, trainer=command, extra=("--code", code_id())
        )
        failed = runner.fill(grid, accept_old_code="--accept" in sys.argv)
except KeyboardInterrupt:
    sys.exit(130)
except ValueError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
render(study_of(ablation, grid, runs, "again"), runs / "pages" / "roi_layer")
sys.exit(1 if failed else 0)
