"""The key storm, live and small: real processes, origin, recording proxy and database.

What each gate makes of evidence is tested over literals (tests/checks/test_key_storms.py), that each protection turns
its gate red by ``rig prove --storms``; here it is that the evidence is true.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from socket import SHUT_RDWR
from types import SimpleNamespace
from typing import Any, get_args

import pandas as pd
import pytest

from fleet_jwks import JwksSettings, Refused
from fleet_jwks.keys import claims_of, import_keys
from rig.checks.key_storms.gates import storm_gates
from rig.errors import ConfigError, UsageError
from rig.evidence.bad_tokens import FAILED
from rig.evidence.case import Case
from rig.evidence.gate import Verdict
from rig.evidence.key_case import Start, Token, TokenClient
from rig.evidence.key_storm import CALL_COLUMNS, KeyStorm
from rig.evidence.verifier_settings import VerifierSettings
from rig.machine.child import free_port
from rig.profile import Profile, bundled_profile, load_profile
from rig.profile.storms import Algorithm, Storms, UnknownKid, VerifierPromises
from rig.report.plots.storms import storms
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.pooler import find_pooler
from rig.storms.unknown_kid import callers
from rig.storms.unknown_kid import storm as key_storms
from rig.storms.unknown_kid.callers import MemberScript
from rig.storms.unknown_kid.cases import CASES
from rig.storms.unknown_kid.forger import forging
from rig.storms.unknown_kid.keyring import ALGORITHMS, AUDIENCE, ISSUER, Keyring, unknown_token
from rig.storms.unknown_kid.one_case import CasePlan, _CaseRun, run_case
from rig.storms.unknown_kid.storm import require_key_ids, unknown_kid
from rig.storms.unknown_kid.subjects import AUTHLIB, PYJWT, REFERENCE_SUBJECT, Failed, Subject, http_fleet
from rig.target.postgres import Database
from tests.cli.commands import rig
from tests.serving import Answer, serving

KEYRING = Keyring.make()
VERIFIER_SETTINGS = {
    "random-kids": VerifierSettings(cool_down_s=1.2),
    "pooler": VerifierSettings(cool_down_s=1.2),
    "leader-killed": VerifierSettings(cool_down_s=1.2, wait_timeout_s=2.5),
}
"""Shorter cool-downs than the cases have: they are waited for, and these storms are smaller."""


def stormed(
    environment: StormEnvironment, case: str, subject: Subject = REFERENCE_SUBJECT, *without: str, key_ids: int = 20
) -> KeyStorm:
    keyring = Keyring.make(subject.traits.algorithms, subject.traits.keys)
    return run_case(
        environment, CasePlan(subject, keyring, 4, key_ids, without), CASES[case](VERIFIER_SETTINGS.get(case))
    )


def verdicts(storm: KeyStorm) -> dict[str, Verdict]:
    return {gate.id.rpartition(".")[2]: gate.verdict for gate in storm_gates(storm)}


def red(storm: KeyStorm) -> set[str]:
    return {name for name, verdict in verdicts(storm).items() if verdict not in (Verdict.PASS, Verdict.NOT_RUN)}


def test_a_storm_costs_the_reference_one_fetch_and_its_evidence_is_whole(environment: StormEnvironment) -> None:
    storm = stormed(environment, "random-kids")
    assert not red(storm), storm_gates(storm)
    assert len(storm.fetches) == len(storm.proxy_fetches) == 1
    assert (storm.before, storm.own) == (1, 2)
    assert storm.calls["token"].str.partition(" ")[0].isin(["unknown", "forged"]).sum() == 4 * 20
    assert storm.connections is not None
    assert storm.connections.opened <= 4
    assert storms(Case(key_storms=(storm,))) is not None
    assert (environment.folder / "ledger" / "random-kids.tee.jsonl").stat().st_size > 0


@pytest.mark.full
def test_a_verifier_that_knows_its_issuer_only_finds_the_keys_by_discovery(environment: StormEnvironment) -> None:
    discovers = replace(REFERENCE_SUBJECT, factory="tests.storms.subjects:discovering", issuer="{origin}")
    storm = stormed(environment, "forged-tokens", discovers)
    assert not red(storm), storm_gates(storm)
    assert set(storm.calls["accepted"][storm.calls["token"] == "known"]) == {True}
    assert not red(stormed(environment, "random-kids", discovers))


def test_without_single_flight_the_origin_sees_a_stampede(environment: StormEnvironment) -> None:
    storm = stormed(environment, "random-kids", REFERENCE_SUBJECT, "single-flight")
    # Whether they also fetch at once while they start depends on how far apart they start.
    assert red(storm) - {"start"} == {"single-flight", "floor", "amplification"}
    assert len(storm.proxy_fetches) == len(storm.fetches) == 4


def test_a_killed_leader_is_seen_attributed_and_replaced(environment: StormEnvironment) -> None:
    storm = stormed(environment, "leader-killed")
    assert not red(storm), storm_gates(storm)
    kill = storm.mark("kill")
    assert kill is not None
    assert storm.fetches[0].member == kill.member
    assert storm.fetches[0].outcome == "aborted"
    assert storm.fetches[1].member != kill.member
    assert storm.missing == ()


@pytest.mark.skipif(find_pooler(os.environ) is None, reason="pgbouncer is not installed")
def test_behind_a_pooler_a_transactions_lock_leads_and_a_sessions_does_not(environment: StormEnvironment) -> None:
    assert not red(stormed(environment, "pooler"))
    assert "single-flight" in red(stormed(environment, "pooler", REFERENCE_SUBJECT, "lock-scope"))


@pytest.mark.full
def test_a_verifier_that_believes_everybody_is_found_out(environment: StormEnvironment) -> None:
    believer = replace(REFERENCE_SUBJECT, name="believer", factory="tests.storms.subjects:believer")
    assert red(stormed(environment, "random-kids", believer)) == {"false-accepts"}


def test_a_new_key_that_is_not_found_at_once_is_found_late(environment: StormEnvironment) -> None:
    hesitant = replace(REFERENCE_SUBJECT, name="hesitant", factory="tests.storms.subjects:hesitant")
    assert red(stormed(environment, "rotation-outside", hesitant)) == {"rotation", "waits"}


def test_a_member_that_dies_takes_the_claims_of_the_callers_with_it(environment: StormEnvironment) -> None:
    found = verdicts(stormed(environment, "random-kids", Subject("mortal", "tests.storms.subjects:mortal")))
    assert found["false-accepts"] is Verdict.FAIL  # it does believe everybody, and the others said so
    assert found["known-kids"] is Verdict.INVALID
    assert found["single-flight"] is Verdict.INVALID  # nobody fetched, but the dead one might have


@pytest.mark.parametrize("subject", [PYJWT, AUTHLIB], ids=lambda subject: subject.name)
def test_a_library_fetches_in_every_process(environment: StormEnvironment, subject: Subject) -> None:
    storm = stormed(environment, "random-kids", subject, key_ids=3)
    assert {"single-flight", "amplification"} <= red(storm)
    assert verdicts(storm)["false-accepts"] is Verdict.PASS
    assert verdicts(storm)["known-kids"] is Verdict.PASS
    assert len(storm.fetches) == len(storm.proxy_fetches) >= 4


def test_a_library_that_is_not_there_is_no_pass(environment: StormEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rig.machine.extras.find_spec", lambda module: None)
    made = list(unknown_kid(environment, StormOptions(subject="pyjwt")))
    assert [storm.case for storm in made] == list(CASES)
    for storm in made:
        (gate,) = storm_gates(storm)
        assert gate.verdict is Verdict.INVALID
        assert "jwt is not installed" in gate.reason


def test_what_cannot_be_tried_is_named(environment: StormEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(PYJWT, needs="no_such_module")
    assert "no_such_module is not installed" in stormed(environment, "flood", absent).not_run
    monkeypatch.setattr("rig.storms.unknown_kid.one_case.find_pooler", lambda environ: None)
    assert stormed(environment, "pooler").not_run == "pgbouncer is not installed"
    remote = replace(REFERENCE_SUBJECT, remote=True)
    assert "kill or stop" in stormed(environment, "leader-killed", remote).not_run
    assert "cached" in stormed(environment, "cold-start", remote).not_run
    assert stormed(environment, "cold-start", remote).start is Start.COLD


def script_of(folder: Path, *parts: TokenClient) -> MemberScript:
    journal = tempfile.mkdtemp(dir=folder)
    with forging(KEYRING) as forged:
        return MemberScript(
            "",
            "",
            "",
            {},
            journal,
            f"{journal}/log",
            KEYRING.known_tokens(),
            KEYRING.unnamed_tokens(),
            KEYRING.rotated_token(),
            forged,
            (),
            clients=parts,
        )


def test_a_known_key_that_is_never_answered_is_a_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known, hangs, over = KEYRING.known_tokens()[0], threading.Event(), threading.Event()
    asked: list[str] = []

    def verify(token: str) -> None:
        asked.append(token)
        if token == known and len(asked) > 1:
            hangs.set()
            over.wait()
        elif token != known:
            hangs.wait()
            raise ValueError("unknown")

    monkeypatch.setattr(callers, "load", lambda name: lambda environ: verify)
    monkeypatch.setattr(callers, "_JOIN_GRACE_S", 0.05)
    parts = (TokenClient(Token.UNKNOWN, 2, 0.0, 0.0, 60.0, False), TokenClient(Token.KNOWN, 0, 0.01, 0.0, 60.0, True))
    try:
        noted = callers.call_verifier(0, replace(script_of(tmp_path, *parts), known=(known,)), time.monotonic_ns)
    finally:
        over.set()
    (hung,) = [call for call in noted.calls if call[0] == "known"]
    assert hung[2] > hung[1]
    table = pd.DataFrame([(0, *call) for call in noted.calls], columns=list(CALL_COLUMNS))
    (gate,) = storm_gates(KeyStorm(case="any", story="", gates=("known-kids",), calls=table))
    assert (gate.verdict, gate.reason) == (Verdict.FAIL, "1 refused (Hung 1)")


def test_keys_of_two_storms_are_never_taken_for_one_another_and_some_tokens_are_forged(tmp_path: Path) -> None:
    key_ids = [{str(key.kid) for key in (*ring.known, ring.new)} for ring in (KEYRING, Keyring.make())]
    assert len(key_ids[0] | key_ids[1]) == 8
    kinds = [kind for kind, _ in callers._tokens(TokenClient(Token.UNKNOWN, 40), script_of(tmp_path), 0)]
    assert (kinds.count("unknown"), len([kind for kind in kinds if kind.startswith("forged ")])) == (38, 2)


@pytest.mark.parametrize("algorithm", ["PS384", "ES512", "Ed25519", "Ed448"])
def test_an_algorithm_of_a_profile_has_valid_unknown_and_forged_tokens(algorithm: str) -> None:
    assert set(get_args(Algorithm)) == set(ALGORITHMS)
    ring = Keyring.make((algorithm,), 1)
    settings = JwksSettings("", url="http://unused", issuer=ISSUER, audience=AUDIENCE, algorithms=(algorithm,))
    (key,) = import_keys(ring.document()).values()
    (token,) = ring.known_tokens()
    assert claims_of(token, key, settings)["sub"] == "rig"
    assert len(unknown_token(algorithm).rpartition(".")[2]) == len(token.rpartition(".")[2])
    with forging(ring, accepted=(token,)) as forged:
        assert sum(bad.startswith(f"{token.rpartition('.')[0]}.") for _, bad in forged) >= 2
        for kind, bad in forged:
            with pytest.raises(Refused):
                pytest.fail(f"{kind}: {claims_of(bad, key, settings)}")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (StormOptions(cases=("weather",)), "--case weather: unknown-kid has the cases random-kids"),
        (StormOptions(without=("luck",)), "--without luck"),
        (StormOptions(subject="no such thing"), "is no subject"),
        (StormOptions(subject="no.such:thing"), "no.such:thing: No module"),
    ],
)
def test_an_order_for_what_there_is_not_is_refused(order: StormOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        require_key_ids(load_profile(bundled_profile()), order, Path())


def test_a_fleet_behind_http_needs_its_addresses() -> None:
    with pytest.raises(ConfigError, match="needs command, or urls and origin_port"):
        require_key_ids(load_profile(bundled_profile()), StormOptions(subject="http"), Path())


@pytest.mark.full
def test_the_old_name_of_a_protection_switches_it_off_on_the_command_line(tmp_path: Path) -> None:
    words = ("--case", "flood", "--without", "floor", "--processes", "2", "--key-ids", "20")
    done = rig("storm", "unknown-kid", *words, "--out", str(tmp_path), "--json")
    failed = {gate["id"] for gate in done.document()["gates"] if gate["verdict"] == "FAIL"}
    assert (done.code, failed) == (1, {"storm.flood.floor", "storm.flood.amplification"}), done.err


# --- a fleet behind HTTP ------------------------------------------------------------------------------------------


@contextmanager
def fleet_behind_http(database: Database, origin_port: int, folder: Path) -> Iterator[str]:
    """The reference service in two processes, its tokens judged by the reference verifier; its base URL."""
    environ = {
        **os.environ,
        "DATABASE_URL": database.runtime_dsn,
        "MIGRATION_DATABASE_URL": database.admin_dsn,
        "JWKS_URL": f"http://127.0.0.1:{origin_port}/jwks.json",
        "JWKS_COOL_DOWN_S": "1.2",
        "JWKS_ISSUER": ISSUER,
        "JWKS_AUDIENCE": AUDIENCE,
    }
    config = folder / "service.toml"
    config.write_text('[auth]\nverifier = "fleet_jwks:factory"\n', encoding="utf-8")
    for module in (["stub_server.service", "migrate"], ["fleet_jwks"]):
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


@pytest.mark.parametrize(
    ("answer", "noted"),
    [
        (lambda handler: handler.send_error(500), "Failed 500"),
        (lambda handler: handler.connection.shutdown(SHUT_RDWR), "Failed RemoteDisconnected"),
    ],
)
def test_a_fleet_that_breaks_at_an_unknown_key_has_not_refused_it(answer: Answer, noted: str) -> None:
    with serving(answer) as port:
        section = UnknownKid(urls=(f"http://127.0.0.1:{port}",), origin_port=9)
        fleet = http_fleet(dict(key_storms._http_subject(section).environ))
        call = callers._call(fleet, "unknown", "token")
    assert (call[3], call[4]) == (False, noted)
    table = pd.DataFrame([(0, *call)], columns=list(CALL_COLUMNS))
    (gate,) = storm_gates(KeyStorm(case="any", story="", gates=("refusals",), calls=table))
    assert (gate.verdict, gate.reason) == (Verdict.FAIL, f"1 met an error ({noted} 1)")


def test_what_checkers_look_for_is_what_a_fleet_behind_http_raises() -> None:
    assert Failed.__name__ == FAILED
    assert callers._name(Failed("a sentence that is no status")) == FAILED


def test_a_fleet_may_answer_503_to_what_it_cannot_look_up() -> None:
    section = UnknownKid(urls=("http://127.0.0.1:9",), origin_port=9, rejected=(401, 503))
    assert dict(key_storms._http_subject(section).environ)["RIG_STORM_REJECTED"] == "401,503"


@pytest.fixture
def profile_of() -> Callable[[UnknownKid], Profile]:
    bundled = load_profile(bundled_profile())
    return lambda section: bundled.model_copy(update={"storms": Storms(unknown_kid=section)})


def test_between_cases_a_fleet_that_runs_already_is_left_alone_for_a_cool_down(
    environment: StormEnvironment, monkeypatch: pytest.MonkeyPatch, profile_of: Callable[[UnknownKid], Profile]
) -> None:
    """Not tried is not asked: the case before that counts."""
    noted: list[int | None] = []

    def case_of(
        environment: StormEnvironment, plan: CasePlan, case: Any, *, asked: bool, fetched_ns: int | None
    ) -> KeyStorm:
        noted.append(fetched_ns)
        return KeyStorm(case=case.name, story="", ended_ns=len(noted), not_run="why" * (case.name == "leader-killed"))

    monkeypatch.setattr(key_storms, "run_case", case_of)
    section = UnknownKid(urls=("http://127.0.0.1:9",), origin_port=9)
    order = StormOptions(cases=("random-kids", "leader-killed", "flood"))
    before_ns = time.monotonic_ns()
    assert len(list(unknown_kid(replace(environment, profile=profile_of(section)), order))) == 3
    assert noted[0] is not None
    assert noted[0] >= before_ns  # whoever stormed it a moment ago may have made it fetch
    assert noted[1:] == [1, 1]
    noted.clear()
    list(unknown_kid(environment, order))
    assert noted == [None] * 3


class Clock:
    """The time of a module, which passes when it sleeps."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_the_cool_down_of_the_case_before_is_over_before_a_member_asks_for_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = Clock()
    monkeypatch.setattr("rig.storms.unknown_kid.one_case.time", clock)
    started_s: list[float] = []

    def start(deadline_s: float) -> None:
        started_s.append(clock.now_s)
        raise InterruptedError

    case = CASES["flood"](VerifierSettings(cool_down_s=30))
    origin, fleet = SimpleNamespace(proxy_ledger=tmp_path / "none"), SimpleNamespace(start=start)
    for fetched_ns in (None, round(90e9), round(10e9)):
        with pytest.raises(InterruptedError):
            _CaseRun(CasePlan(REFERENCE_SUBJECT, KEYRING, 1), case, origin, fleet, fetched_ns, None).run()
    assert started_s == pytest.approx([100, 120.62, 120.62])


def test_a_fleet_behind_http_is_tested_without_any_change_to_it(
    environment: StormEnvironment, database: Database, tmp_path: Path, profile_of: Callable[[UnknownKid], Profile]
) -> None:
    origin_port = free_port()
    with fleet_behind_http(database, origin_port, tmp_path) as url:
        section = UnknownKid(urls=(url,), origin_port=origin_port, promises=VerifierPromises(cool_down_s=1.2))
        order = StormOptions(processes=3, key_ids=10, cases=("random-kids", "rotation-outside", "leader-killed"))
        found = list(unknown_kid(replace(environment, profile=profile_of(section)), order))
    for storm in found[:2]:
        assert not red(storm), storm_gates(storm)
        assert len(storm.fetches) == len(storm.proxy_fetches) == 1
    assert list(verdicts(found[2]).values()) == [Verdict.INVALID]  # asked for, and not possible
