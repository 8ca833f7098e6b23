"""How many files processes of the rig may open: the limit is raised for them, and said where it is reached."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rig.calibrate.stub import null_stub
from rig.engine.pool import Load, Pool
from rig.evidence.history import History
from rig.evidence.scenario_runs import RESULT
from rig.machine.open_files import raise_limit
from rig.profile import Profile, bundled_profile, load_profile
from tests.engine.scenes import RUN, credentials, scenario

USUAL = 1024


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile(bundled_profile()).for_stub()


@pytest.mark.parametrize(
    ("soft", "hard", "allowed"),
    [
        (1024, 4096, 4096),
        (1024, 1 << 20, 1 << 16),
        (1024, resource.RLIM_INFINITY, 1 << 16),
        # It is never lowered.
        (1 << 17, 1 << 20, 1 << 17),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_the_hard_one_lets(
    soft: int, hard: int, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [(soft, hard)]

    def prlimit(pid: int, what: int, given: tuple[int, int] | None = None) -> tuple[int, int]:
        assert (pid, what) == (7, resource.RLIMIT_NOFILE)
        if given is not None:
            limits.append(given)
        return limits[-1]

    monkeypatch.setattr(resource, "prlimit", prlimit)
    raise_limit(7)
    assert limits[-1] == (allowed, hard)


@pytest.fixture
def usual_limit() -> Iterator[None]:
    """This process and all that it starts may open as many files as is usual; the hard limit is left."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(USUAL, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.full
@pytest.mark.usefixtures("usual_limit")
def test_one_worker_loads_from_ten_thousand_connections(profile: Profile, tmp_path: Path) -> None:
    """A request on each at the same time, and ten more."""
    connections, count = 10_000, 110_000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < connections + 100:
        pytest.skip("the hard limit of open files is lower")
    scene = scenario(count, connections=connections, deadline_s=100.0)
    rows_file = History(tmp_path / "history").rows_file(scene, 0)
    with null_stub() as stub, Pool(1) as pool:
        report = pool.run_scenario(Load(scene, profile, RUN, credentials(profile), stub.endpoint, lambda _: rows_file))
    (worker,) = report.present
    assert (worker.offered, worker.sent, worker.skipped, worker.connects) == (count, count, 0, connections)
    rows = np.fromfile(rows_file, dtype=RESULT)
    assert len(np.unique(rows["connection"])) == connections
    assert (rows["status"] == 200).all()
    print(  # noqa: T201  # the figures are what the test is run for
        f"\n{connections:,} connections, {count:,} requests in {report.elapsed_s:.1f} s, "
        f"{report.cpu_us_per_request:.1f} µs each, {worker.max_rss_bytes / 2**20:.0f} MiB"
    )


@pytest.mark.full
def test_a_limit_that_is_too_low_is_said_with_its_remedy(profile: Profile, tmp_path: Path) -> None:
    scene = scenario(200, connections=100)
    history = History(tmp_path / "history")
    with null_stub() as stub, Pool(1) as pool:
        worker = pool.pids[0]
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (50, 50))
        report = pool.run_scenario(
            Load(scene, profile, RUN, credentials(profile), stub.endpoint, lambda _: history.rows_file(scene, 0))
        )
    assert not report.complete
    assert "A process may open 50 here" in str(report.notes)
