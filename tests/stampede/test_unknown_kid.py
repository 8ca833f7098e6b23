"""The storm of unknown key ids, live and small: real processes, origin, tee and database.

What each gate makes of evidence is tested over literals (tests/checks/test_stampede.py), that each protection turns its
gate red by ``rig prove --storms``; here it is that the evidence is true.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rig.checks.case import Case
from rig.checks.stampede import storm_gates
from rig.errors import ConfigError, UsageError
from rig.evidence.plots.storms import storms
from rig.lifeline import Lifeline
from rig.model import Verdict
from rig.postgres import Cluster, Database
from rig.profile import Profile, bundled_profile, load_profile
from rig.profile.storms import KidPromises, Storms, UnknownKid
from rig.stampede.adapters import AUTHLIB, PYJWT, REFERENCE_SUBJECT, Subject
from rig.stampede.cases import CASES
from rig.stampede.ground import Ground, Order
from rig.stampede.keyring import AUDIENCE, ISSUER, Keyring
from rig.stampede.kid_storm import Plan, storm_case
from rig.stampede.kids import KidStorm
from rig.stampede.knobs import Knobs
from rig.stampede.pooler import find_pooler
from rig.stampede.unknown_kid import require_kids, unknown_kid

KEYRING = Keyring.make()
KNOBS = {
    "random-kids": Knobs(floor_s=1.2),
    "pooler": Knobs(floor_s=1.2),
    "leader-killed": Knobs(floor_s=1.2, patience_s=2.5),
}
"""Shorter floors than the cases have: they are waited for, and these storms are smaller."""


@pytest.fixture
def ground(lifeline: Lifeline, cluster: Cluster, tmp_path: Path) -> Ground:
    path = bundled_profile()
    return Ground(cluster, load_profile(path), path.parent, dict(os.environ), tmp_path)


def stormed(ground: Ground, case: str, subject: Subject = REFERENCE_SUBJECT, *without: str, kids: int = 20) -> KidStorm:
    return storm_case(ground, Plan(subject, KEYRING, 4, kids, without), CASES[case](KNOBS.get(case)))


def verdicts(storm: KidStorm) -> dict[str, Verdict]:
    return {gate.id.rpartition(".")[2]: gate.verdict for gate in storm_gates(storm)}


def red(storm: KidStorm) -> set[str]:
    return {name for name, verdict in verdicts(storm).items() if verdict is not Verdict.PASS}


def test_a_storm_costs_the_reference_one_fetch_and_its_evidence_is_whole(ground: Ground) -> None:
    storm = stormed(ground, "random-kids")
    assert not red(storm), storm_gates(storm)
    assert len(storm.fetches) == len(storm.tee) == 1
    assert (storm.before, storm.own) == (1, 2)
    assert storm.calls["token"].isin(["unknown", "forged"]).sum() == 4 * 20
    assert storm.fetches[0].member in range(4)
    assert storm.door is not None
    assert storm.door.opened <= 4
    assert storms(Case(kid_storms=(storm,))) is not None
    assert (ground.folder / "ledger" / "random-kids.tee.jsonl").stat().st_size > 0


def test_without_single_flight_the_origin_sees_a_stampede(ground: Ground) -> None:
    storm = stormed(ground, "random-kids", REFERENCE_SUBJECT, "single-flight")
    assert red(storm) == {"single-flight", "floor", "amplification"}
    assert len(storm.tee) == len(storm.fetches) == 4


def test_a_killed_leader_is_seen_attributed_and_replaced(ground: Ground) -> None:
    storm = stormed(ground, "leader-killed")
    assert not red(storm), storm_gates(storm)
    kill = storm.mark("kill")
    assert kill is not None
    assert storm.fetches[0].member == kill.member
    assert storm.fetches[0].outcome == "aborted"
    assert storm.fetches[1].member != kill.member
    assert storm.missing == ()


@pytest.mark.skipif(find_pooler(os.environ) is None, reason="pgbouncer is not installed")
def test_behind_a_pooler_a_transactions_lock_leads_and_a_sessions_does_not(ground: Ground) -> None:
    assert not red(stormed(ground, "pooler"))
    assert "single-flight" in red(stormed(ground, "pooler", REFERENCE_SUBJECT, "lock-scope"))


def test_a_verifier_that_believes_everybody_is_found_out(ground: Ground) -> None:
    believer = replace(REFERENCE_SUBJECT, name="believer", factory="stampede.subjects:believer")
    assert red(stormed(ground, "random-kids", believer)) == {"false-accepts"}


def test_a_member_that_dies_takes_the_claims_of_the_callers_with_it(ground: Ground) -> None:
    found = verdicts(stormed(ground, "random-kids", Subject("mortal", "stampede.subjects:mortal")))
    assert found["false-accepts"] is Verdict.FAIL  # it does believe everybody, and the others said so
    assert found["known-kids"] is Verdict.INVALID
    assert found["single-flight"] is Verdict.FAIL  # nobody ever fetched


@pytest.mark.parametrize(("subject", "module"), [(PYJWT, "jwt"), (AUTHLIB, "authlib")])
def test_a_library_fetches_in_every_process(ground: Ground, subject: Subject, module: str) -> None:
    pytest.importorskip(module)
    storm = stormed(ground, "random-kids", subject, kids=3)
    assert {"single-flight", "amplification"} <= red(storm)
    assert verdicts(storm)["false-accepts"] is Verdict.PASS
    assert verdicts(storm)["known-kids"] is Verdict.PASS
    assert len(storm.fetches) == len(storm.tee) >= 4


def test_what_cannot_be_tried_is_named(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(PYJWT, needs="no_such_module")
    assert "no_such_module is not installed" in stormed(ground, "flood", absent).not_run
    monkeypatch.setattr("rig.stampede.kid_storm.find_pooler", lambda environ: None)
    assert stormed(ground, "pooler").not_run == "pgbouncer is not installed"
    remote = replace(REFERENCE_SUBJECT, remote=True)
    assert "kill or stop" in stormed(ground, "leader-killed", remote).not_run
    assert "cached" in stormed(ground, "cold-start", remote).not_run


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (Order(cases=("weather",)), "--case weather: unknown-kid has the cases random-kids"),
        (Order(without=("luck",)), "--without luck"),
        (Order(subject="no such thing"), "is no subject"),
        (Order(subject="no.such:thing"), "no.such:thing: No module"),
    ],
)
def test_an_order_for_what_there_is_not_is_refused(order: Order, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        require_kids(load_profile(bundled_profile()), order)


def test_a_fleet_behind_http_needs_its_addresses() -> None:
    with pytest.raises(ConfigError, match="needs urls and origin_port"):
        require_kids(load_profile(bundled_profile()), Order(subject="http"))


# --- a fleet behind HTTP ------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def fleet_behind_http(database: Database, origin_port: int, folder: Path) -> Iterator[str]:
    """The reference service in two processes, its tokens judged by the reference verifier; its base URL."""
    environ = {
        **os.environ,
        "DATABASE_URL": database.runtime_dsn,
        "MIGRATION_DATABASE_URL": database.admin_dsn,
        "JWKS_URL": f"http://127.0.0.1:{origin_port}/jwks.json",
        "JWKS_FLOOR_S": "1.2",
        "JWKS_ISSUER": ISSUER,
        "JWKS_AUDIENCE": AUDIENCE,
    }
    config = folder / "service.toml"
    config.write_text('[auth]\nverifier = "stub_server.verifier:factory"\n', encoding="utf-8")
    for module in (["stub_server.service", "migrate"], ["stub_server.verifier"]):
        subprocess.run([sys.executable, "-m", *module], env=environ, check=True, timeout=60)
    port = free_port()
    log_file = folder / "service.log"
    serve = ["serve", "--config", str(config), "--port", str(port), "--processes", "2"]
    with (
        log_file.open("wb") as log,
        subprocess.Popen([sys.executable, "-m", "stub_server.service", *serve], env=environ, stderr=log) as process,
    ):
        try:
            while process.poll() is None and b"serving" not in log_file.read_bytes():
                time.sleep(0.02)
            assert process.poll() is None, log_file.read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def profile_of() -> Callable[[UnknownKid], Profile]:
    bundled = load_profile(bundled_profile())
    return lambda section: bundled.model_copy(update={"storms": Storms(unknown_kid=section)})


def test_a_fleet_behind_http_is_stormed_without_any_change_to_it(
    ground: Ground, database: Database, tmp_path: Path, profile_of: Callable[[UnknownKid], Profile]
) -> None:
    origin_port = free_port()
    with fleet_behind_http(database, origin_port, tmp_path) as url:
        section = UnknownKid(urls=(url,), origin_port=origin_port, promises=KidPromises(floor_s=1.2))
        order = Order(processes=3, kids=10, cases=("random-kids", "rotation-outside", "leader-killed"))
        found = list(unknown_kid(replace(ground, profile=profile_of(section)), order))
    for storm in found[:2]:
        assert red(storm) <= {"connections"}, storm_gates(storm)
        assert len(storm.fetches) == len(storm.tee) == 1
    assert list(verdicts(found[2]).values()) == [Verdict.INVALID]  # asked for, and not possible
