"""pytest --kernels my_kernels.py: one item per kernel, lane, check and dtype.

Collects nothing until kernels are named, by the option or by `kernels = FILE ...` in pytest's
configuration, so that it is no burden where it is merely installed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kernels

if not hasattr(kernels, "operators"):  # Hugging Face's package of the same name was found instead
    pytest.exit(
        f"the conformance plugin finds {kernels.__file__} as `kernels`, which is another package"
        " of that name: use an environment without it",
        returncode=4,
    )


WORKERS: pytest.StashKey[dict[str, Any]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options --kernels, --kernel-profile and --kernel-lane, and the setting `kernels`."""
    group = parser.getgroup("kernels", "conformance of kernels")
    group.addoption(
        "--kernels",
        action="append",
        metavar="FILE",
        help="a Python file with @kernel declarations; may be repeated",
    )
    group.addoption("--kernel-profile", default="ci", help="quick, ci (default) or nightly")
    group.addoption(
        "--kernel-lane",
        action="append",
        metavar="LANE",
        help="a lane; may be repeated; default: all but gpu+sanitizer",
    )
    parser.addini("kernels", "Python files with @kernel declarations", type="paths", default=[])


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the items of every file that was named."""
    named = [Path(f) for f in config.getoption("--kernels") or []] or config.getini("kernels")
    for file in named:
        collector = KernelFile.from_parent(session, name=str(file), path=Path(file).resolve())
        items += session.genitems(collector)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the workers."""
    for worker in session.stash.get(WORKERS, {}).values():
        worker.close()


class KernelFile(pytest.Collector):
    """A file of declared kernels."""

    def collect(self) -> Iterator["Conformance"]:
        """One item per kernel, lane, check and dtype."""
        from kernels.conformance.checks import checks_of
        from kernels.conformance.selection import chosen

        lanes = self.config.getoption("--kernel-lane") or ()
        try:
            found = chosen(self.path, None, None, lanes)
        except ValueError as error:
            raise self.CollectError(str(error)) from None
        for kernel in found:
            for check in checks_of(kernel.operator):
                for dtype in kernel.dtypes:
                    yield Conformance.from_parent(
                        self,
                        name=f"{kernel.operator}/{kernel.title}/{dtype}/{check.name}",
                        kernel=kernel,
                        check=check.name,
                        dtype=dtype,
                    )


class Conformance(pytest.Item):
    """One check of one kernel in one dtype."""

    def __init__(self, *, kernel: Any, check: str, dtype: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.kernel, self.check, self.dtype = kernel, check, dtype

    def runtest(self) -> None:
        """Run the check in the kernel's worker; skip where it does not apply or cannot run."""
        from kernels.conformance.engine import check_kernel

        profile = self.config.getoption("--kernel-profile")
        names, dtypes = [self.check], [self.dtype]
        (outcome,) = check_kernel(
            self.kernel, profile=profile, names=names, dtypes=dtypes, call=self._worker()
        )
        if outcome.verdict == "not run":
            pytest.skip(outcome.reason)
        if outcome.verdict == "known":
            pytest.xfail(outcome.reason)
        if outcome.bad:
            raise Broken(outcome)

    def _worker(self) -> Any:
        """The one worker of this kernel, started by its first item."""
        from kernels.conformance.worker import Isolated

        running = self.session.stash.setdefault(WORKERS, {})
        return running.setdefault(self.kernel.origin, Isolated(self.kernel))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """What a person needs to mend the kernel, instead of a traceback of ours."""
        if isinstance(excinfo.value, Broken):
            from kernels.conformance.repro import explained

            return explained(excinfo.value.outcome, self.path)
        return pytest.Item.repr_failure(self, excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where pytest says this item stands."""
        return self.path, None, self.name


class Broken(Exception):  # noqa: N818  (the kernel's failure, not an error)
    """A check failed; the outcome says how."""

    def __init__(self, outcome: Any) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome
