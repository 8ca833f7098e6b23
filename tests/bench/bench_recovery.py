"""Whether the recovery times in the table of a chaos are true: an independent prober sees the same ones.

The prober asks through the relay that the sender goes through. Both say when the first good answer to what was sent
after a healing came, and from when on nearly all of it was answered well again. Keep the machine quiet.
"""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from rig.checks.aftermath import aftermaths
from rig.evidence.pack import Pack
from rig.machine.processes import words
from rig.profile import bundled_profile, load_profile
from tests.cli.commands import QUICK, Going, only_pack

FAULTS = (
    "service-killed", "service-stopped", "deploy", "database-killed", "database-restarted", "database-held",
    "database-cut", "slots-taken", "sender-cut", "sender-held",
)  # fmt: skip
"""Those of which readiness and events suffer alike."""
AGREE_S = 0.05
_SPAN_NS, _STEP_NS = 250_000_000, 5_000_000
_SHARE = 0.9


@pytest.mark.bench
def bench_an_independent_prober_sees_the_same_recovery(tmp_path: Path) -> None:
    probes, pack = _run_chaos(tmp_path)
    begun_ns, ended_ns, status = probes.T
    differences = []
    chaos = pack.chaos()
    assert chaos is not None
    usual = _count_usual(ended_ns, chaos.struck[0].strike_begun_ns)
    for found in aftermaths(pack.load()):
        healed_ns = found.record.healed_ns
        is_after = begun_ns > healed_ns
        after_ns, is_good = ended_ns[is_after], status[is_after] == 200
        first_s = (after_ns[is_good].min() - healed_ns) / 1e9 if is_good.any() else math.nan
        back_s = (_find_recovery(after_ns, is_good, healed_ns, usual) - healed_ns) / 1e9
        differences += [found.first_good_s - first_s, found.back_s - back_s]
        click.echo(
            f"{found.record.fault:20} good again {found.first_good_s:.3f} s, prober {first_s:.3f} s; "
            f"at rate again {found.back_s:.3f} s, prober {back_s:.3f} s"
        )
    assert len(differences) >= len(FAULTS), "most faults struck"
    assert max(map(abs, differences)) <= AGREE_S


def _count_usual(ended_ns: NDArray[np.int64], until_ns: int) -> float:
    """How many answers come within a quarter of a second while nothing is broken."""
    return float(np.sum(ended_ns < until_ns)) / ((until_ns - int(ended_ns.min())) / _SPAN_NS)


def _find_recovery(ended_ns: NDArray[np.int64], is_good: NDArray[np.bool_], healed_ns: int, usual: float) -> float:
    """From when on nearly as many answers come as usual, and nearly all are good. NaN: never."""
    first_ns = int(ended_ns[is_good].min()) if is_good.any() else healed_ns
    for since_ns in range(first_ns, int(ended_ns.max()) - _SPAN_NS, _STEP_NS):
        answers = is_good[(ended_ns >= since_ns) & (ended_ns < since_ns + _SPAN_NS)]
        if answers.sum() >= _SHARE * max(usual, len(answers)):
            return since_ns
    return math.nan


def _run_chaos(results: Path) -> tuple[NDArray[np.int64], Pack]:
    """Rows of begin, end and status, one a probe; and the pack of a chaos of one minute."""
    path = load_profile(bundled_profile()).probes.ready
    assert path is not None
    chaos = Going(["chaos", "--reference", "--only", ",".join(FAULTS), *QUICK, "--json", "--out", str(results)])
    chaos.wait_for("S11")
    relays = [each for each in psutil.Process(chaos.process.pid).children() if "rig.target.relaying" in words(each)]
    to_service = min(relays, key=psutil.Process.create_time)
    (port,) = {each.laddr.port for each in to_service.net_connections("tcp4") if each.status == psutil.CONN_LISTEN}
    with (results / "probes.txt").open("w+") as probes:
        prober = subprocess.Popen([sys.executable, "-m", "tests.bench.prober", str(port), path], stdout=probes)
        try:
            ended = chaos.end()
        finally:
            prober.terminate()
            prober.wait()
        missed = [gate for gate in ended.document()["gates"] if gate["verdict"] in ("FAIL", "INVALID")]
        assert ended.code == 0, missed
        probes.seek(0)
        return np.loadtxt(probes, dtype=np.int64), Pack.open(only_pack(results))
