"""Fixtures, profiles and the header that says what runs and what cannot."""

from pathlib import Path
from typing import runtime_checkable

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from kernels import foreign, operators

torch.set_num_threads(1)
runtime_checkable(st.DrawFn)  # so that beartype can check the functions that take one
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile(
    "ci", max_examples=40, deadline=None, derandomize=True, suppress_health_check=QUIET
)
settings.register_profile("nightly", max_examples=2000, deadline=None, suppress_health_check=QUIET)
settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fixtures-dir", metavar="DIR", help="folder with golden files and real data")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of a lane that cannot run here is skipped, with what it lacks."""
    from kernels.conformance.lanes import LANES

    for item in items:
        for mark in item.iter_markers("lane"):
            missing = LANES[mark.args[0]].missing()
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"lane {mark.args[0]} not run: {missing}"))


def pytest_report_header(config: pytest.Config) -> list[str]:
    backends = "; ".join(f"{name}: {', '.join(op.backends)}" for name, op in operators().items())
    where = config.getoption("--fixtures-dir") or "none, so tests on real data are skipped"
    gpu = "CUDA tests run" if torch.cuda.is_available() else "CUDA tests not run: no GPU here"
    return [f"kernels: {backends}", f"fixtures: {where}", gpu, *filter(None, [foreign()])]


@pytest.fixture(scope="session")
def fixtures(request: pytest.FixtureRequest) -> Path:
    """The folder given as --fixtures-dir; a test that asks for it is skipped without one."""
    given = request.config.getoption("--fixtures-dir")
    if not given:
        pytest.skip("needs --fixtures-dir DIR")
    if not Path(given).is_dir():
        pytest.fail(f"--fixtures-dir {given}: no such folder")
    return Path(given).resolve()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for generated data, shared by the tests of one process."""
    return tmp_path_factory.mktemp("cache")
