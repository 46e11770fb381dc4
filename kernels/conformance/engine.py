"""Runs checks on kernels: draws cases, shrinks what fails, and proves that each check could fail.

Cases are drawn in this process and tried in the kernel's own. A kernel that crashes or hangs has
failed; the case was on disk before the call, and is shrunk across as many crashes as that takes.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.errors import FlakyFailure

from kernels.conformance.call import Answer, Call, Mode, Violation, direct
from kernels.conformance.case import Case
from kernels.conformance.check import Check
from kernels.conformance.checks import ORACLES, checks_of
from kernels.conformance.checks.machine import ON_GPU
from kernels.conformance.declaration import Kernel
from kernels.conformance.lanes import LANES, SANITIZED, TOOLS, titled
from kernels.conformance.worker import Isolated, in_process
from kernels.op import operators, unknown

PROFILES = {"quick": 25, "ci": 25, "nightly": 400}
"""Cases drawn per check, of `quick` a third: it is for lanes in which a launch takes milliseconds.
`nightly` draws others each time."""
FEW = 8
"""Cases that `quick` does not go below, where `ci` has as many: planted errors have to show."""
OTHER_DTYPES = 0.35
"""The share of cases that a law is tried on in a kernel's other dtypes; values are on all."""
POWER_CASES = 200
"""How many of the drawn cases a planted error is given to show itself in."""

Verdict = Literal["passed", "failed", "known", "passes though known", "no power", "not run"]
BAD: tuple[Verdict, ...] = ("failed", "passes though known", "no power")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one check found of one kernel in one dtype.

    lane      where the kernel ran, of `lanes.LANES`
    profile   how many cases were drawn; empty where none was to be
    reason    what happened, why it did not run, or why it is known; empty where it passed
    rule      of the specification that the check holds a kernel to
    case      the smallest case that fails
    worst     place, got, expected and bound of the worst element, where there is one
    covered   ingredient -> in how many of the cases it was, where the check counts them
    """

    operator: str
    kernel: str
    check: str
    dtype: str
    verdict: Verdict
    lane: str = "cpu"
    profile: str = ""
    reason: str = ""
    rule: str = ""
    case: Case | None = None
    worst: Mapping[str, Any] = field(default_factory=dict)
    cases: int = 0
    covered: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    isolated: bool = True

    @property
    def title(self) -> str:
        """The kernel with its lane: mine, mine[emulated]."""
        return titled(self.kernel, self.lane)

    @property
    def path(self) -> str:
        """operator/kernel[lane]/dtype/check: what a command line names this by."""
        return f"{self.operator}/{self.title}/{self.dtype}/{self.check}"

    @property
    def bad(self) -> bool:
        return self.verdict in BAD


def check_kernel(
    kernel: Kernel,
    *,
    profile: str = "ci",
    names: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    isolate: bool = True,
    shrink: bool = True,
    call: Call | None = None,
    last_case: Path | None = None,
) -> Iterator[Outcome]:
    """Every check of the kernel's operator in every dtype it declares, one outcome each.

    names, dtypes   only these; empty: all
    isolate         in a worker process, where the kernel has an origin to load it from
    shrink          a failing case to the smallest; False takes the first that fails
    call            a worker that is there already
    last_case       file that holds the case being tried, for when everything goes down

    A kernel whose lane cannot run here gives outcomes "not run" that say why. Raises ValueError for
    a profile, check or dtype there is not, and for a lane that needs a worker and is to have none.
    """
    wanted = checks_of(kernel.operator, names)
    there_is(profile)
    for dtype in dtypes:
        if dtype not in kernel.dtypes:
            raise ValueError(f"{kernel.name} declares {', '.join(kernel.dtypes)}, not {dtype}")
    pairs = [(c, d) for c in wanted for d in kernel.dtypes if not dtypes or d in dtypes]
    missing = kernel.missing
    with ExitStack() as stack:
        log = last_case or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "last-case"
        if call is None and missing is None:
            call = stack.enter_context(called(kernel, isolate=isolate))
        for check, dtype in pairs:
            if missing is not None:
                outcome = replace(blank(check, kernel, dtype), verdict="not run", reason=missing)
            elif check.name in TOOLS and kernel.lane == SANITIZED:
                outcome = watched(check, kernel, dtype, profile, log)
            else:
                assert call is not None
                outcome = run(check, kernel, dtype, call, profile, log, shrink)
            yield replace(outcome, isolated=call is None or isinstance(call, Isolated))
        log.unlink(missing_ok=True)


@contextmanager
def called(kernel: Kernel, *, isolate: bool) -> Iterator[Call]:
    """A way to call a kernel, in a worker where it can be.

    Raises ValueError for a kernel without origin that needs another environment than this process.
    """
    if isolate and kernel.origin:
        with Isolated(kernel) as call:
            yield call
    elif LANES[kernel.lane].here and kernel.lane != SANITIZED:
        yield in_process(kernel)
    else:
        raise ValueError(f"{kernel.title}: this lane needs a worker, and so a kernel from a file")


def watched(check: Check, kernel: Kernel, dtype: str, profile: str, log: Path | None) -> Outcome:
    """A check under the tool of compute-sanitizer that it is named for, in a worker of its own.

    What the tool finds it says when the worker ends: a failure, without the case that did it.
    """
    with Isolated(kernel, tool=check.name) as call:
        outcome = run(check, kernel, dtype, call, profile, log, shrink=False)
        try:
            call.finish()
        except Violation as violation:
            words = [outcome.reason] if outcome.verdict == "failed" else []
            reason = "; ".join([*words, violation.text])
            outcome = replace(outcome, verdict="failed", reason=reason)
    return outcome


def there_is(profile: str) -> None:
    """Raises ValueError for a profile there is not."""
    if profile not in PROFILES:
        raise ValueError(unknown(profile, PROFILES, "profile"))


def run(
    check: Check,
    kernel: Kernel,
    dtype: str,
    call: Call,
    profile: str,
    log: Path | None = None,
    shrink: bool = True,
) -> Outcome:
    """One check in one dtype, and the proof that it could have failed."""
    about = replace(blank(check, kernel, dtype), profile=profile)
    why = check.skipped(kernel)
    if kernel.lane == SANITIZED and check.name not in TOOLS:
        why = f"not run in lane {SANITIZED}"
    if why is None and check.dtypes is not None and dtype not in check.dtypes:
        why = f"runs in {', '.join(check.dtypes)} only"
    if why is not None:
        return replace(about, verdict="not run", reason=why)
    began = time.monotonic()
    shaped = Shaped(call, kernel.operator)
    tried, failure = attempt(check, kernel, dtype, shaped, profile, log, shrink)
    known = [k for k in kernel.known if k.check == check.name and k.dtype in (None, dtype)]
    if failure is not None:
        case, violation = failure
        about = replace(about, verdict="failed", case=case, reason=violation.text)
        about = replace(about, worst=violation.more)
        if known:
            about = replace(about, verdict="known", reason=f"{known[0].reason} ({violation.text})")
    elif known:
        reason = f"declared to fail ({known[0].reason}), and does not: take it off the list"
        about = replace(about, verdict="passes though known", reason=reason)
    elif blind := [n for n, w in check.wrong.items() if not caught(check, kernel, dtype, w, tried)]:
        reason = f"a kernel that is wrong on purpose would pass on these cases: {', '.join(blind)}"
        about = replace(about, verdict="no power", reason=reason)
    covered = check.covers(tried) if check.covers is not None else {}
    seconds = time.monotonic() - began
    return replace(about, cases=len(tried), covered=covered, seconds=seconds)


def blank(check: Check, kernel: Kernel, dtype: str) -> Outcome:
    """An outcome that says what was checked, and nothing yet of what was found."""
    return Outcome(
        operator=kernel.operator,
        kernel=kernel.name,
        lane=kernel.lane,
        check=check.name,
        dtype=dtype,
        verdict="passed",
        rule=check.rule,
    )


def once(check: Check, kernel: Kernel, dtype: str, call: Call, case: Case) -> Outcome:
    """One case of a check, tried once."""
    about = replace(blank(check, kernel, dtype), cases=1)
    try:
        check.run(call, case, dtype, kernel)
    except Violation as violation:
        failed = replace(about, verdict="failed", case=case, reason=violation.text)
        return replace(failed, worst=violation.more)
    return about


def attempt(
    check: Check,
    kernel: Kernel,
    dtype: str,
    call: Call,
    profile: str,
    log: Path | None,
    shrink: bool,
) -> tuple[list[Case], tuple[Case, Violation] | None]:
    """The cases tried, and the smallest that fails with what it did."""
    tried: list[Case] = []
    failures: list[tuple[Case, Violation]] = []

    def one(case: Case) -> None:
        if log is not None:
            log.write_text(f"{blank(check, kernel, dtype).path}@{case.token}\n")
        if not failures and len(tried) < POWER_CASES:
            tried.append(case)
        try:
            check.run(call, case, dtype, kernel)
        except Violation as violation:
            failures.append((case, violation))
            if violation.text.startswith("hangs"):
                raise Enough from None
            raise

    share = 1.0 if dtype == kernel.dtypes[0] or check.name in ORACLES else OTHER_DTYPES

    @settings(
        max_examples=examples(profile, check.examples * share),
        derandomize=profile != "nightly",
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=check.cases(kernel, dtype))
    def law(case: Case) -> None:
        one(case)

    try:
        for case in check.exact:
            if kernel.allows(case.options):
                one(case)
    except (Violation, Enough):
        if not shrink:
            return tried, failures[-1]
    if failures and failures[-1][1].text.startswith("hangs"):
        return tried, failures[-1]
    try:
        law()  # after an exact case as well: what is drawn can be shrunk
    except (Violation, FlakyFailure, Enough):  # flaky: it fails on one call, not on the next
        return tried, failures[-1]
    return tried, failures[0] if failures else None


def examples(profile: str, share: float) -> int:
    """How many cases to draw of a check that has a share of the profile's."""
    count = max(3, round(PROFILES[profile] * share))
    return max(min(count, FEW), count // 3) if profile == "quick" else count


class Enough(BaseException):
    """A kernel hangs: to shrink the case would take minutes, and the case is good as it is."""


def caught(
    check: Check, kernel: Kernel, dtype: str, wrong: Callable[..., Any], cases: Sequence[Case]
) -> bool:
    """Whether a check catches a planted error on cases it has tried."""
    device = kernel.device if check.name in ON_GPU else "cpu"
    call = Shaped(direct(wrong, kernel.grads, device=device), kernel.operator)
    for case in cases:
        try:
            check.run(call, case, dtype, kernel)
        except Violation:
            return True
    return False


@dataclass
class Shaped:
    """A call whose result has the operator's shape: a kernel that returns another has failed."""

    call: Call
    operator: str

    def __call__(
        self,
        arguments: Mapping[str, Any],
        *,
        grad: torch.Tensor | None = None,
        layout: str = "contiguous",
        mode: Mode = "eager",
    ) -> Answer:
        answer = self.call(arguments, grad=grad, layout=layout, mode=mode)
        op = operators()[self.operator]
        if answer.out is not None and op.shaped:
            expected = op.shape(**{n: arguments[n] for n in op.definition.names}).shape
            if answer.out.shape != expected:
                raise Violation(f"returned {tuple(answer.out.shape)}, not {tuple(expected)}")
        return answer
