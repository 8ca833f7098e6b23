"""Verifiers that are wrong in ways that strangers' verifiers were: each is red by a gate of its own, live.

The mistakes of ``stub_server.flawed_verifiers`` are proved by ``rig prove --storms``; here are those that it does not
have, and verifiers that are right and were called wrong.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rig.checks.key_storms.gates import storm_gates
from rig.evidence.gate import Gate, Verdict
from rig.evidence.key_case import KeyCase
from rig.evidence.key_storm import KeyStorm
from rig.evidence.verifier_settings import VerifierSettings, VerifierTraits
from rig.profile.storms import Storms, UnknownKid, VerifierPromises
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.unknown_kid.keyring import Keyring
from rig.storms.unknown_kid.one_case import CasePlan, run_case
from rig.storms.unknown_kid.storm import unknown_kid
from rig.storms.unknown_kid.subjects import FLAWED, REFERENCE_SUBJECT, Subject
from tests.cli.commands import only_pack, rig

pytestmark = pytest.mark.full
SHORT = (("cool_down_s", 1.2),)


def subject_of(name: str, *, traits: VerifierTraits = VerifierTraits()) -> Subject:  # noqa: B008
    if f"flawed-{name}" in FLAWED:
        return replace(FLAWED[f"flawed-{name}"], promises=SHORT)
    factory = f"tests.storms.subjects:{name}"
    return replace(REFERENCE_SUBJECT, name=name, factory=factory, promises=SHORT, traits=traits)


def stormed(environment: StormEnvironment, subject: Subject, name: str, processes: int = 2) -> KeyStorm:
    keyring = Keyring.make(subject.traits.algorithms, subject.traits.keys)
    return run_case(environment, CasePlan(subject, keyring, processes, 40), subject.case(name))


def with_verdict(storm: KeyStorm, *verdicts: Verdict) -> dict[str, Gate]:
    return {gate.id.rpartition(".")[2]: gate for gate in storm_gates(storm) if gate.verdict in verdicts}


@pytest.mark.parametrize(
    ("name", "case", "expected"),
    [
        ("ending", "random-kids", {"refusals"}),
        ("mistaken", "random-kids", {"refusals"}),
        ("asynchronous_believer", "random-kids", {"false-accepts"}),
        ("signature", "forged-tokens", {"forged-signature"}),
        ("none", "forged-tokens", {"forged-none"}),
        ("eager", "cold-start", {"start"}),
        ("forgetful", "cold-start", {"own-count"}),
    ],
)
def test_what_a_verifier_does_wrong_is_red_and_nothing_else(
    environment: StormEnvironment, name: str, case: str, expected: Collection[str]
) -> None:
    storm = stormed(environment, subject_of(name), case)
    assert set(with_verdict(storm, Verdict.FAIL, Verdict.INVALID)) == expected, storm_gates(storm)


def test_a_verifier_that_ends_its_process_is_asked_all_the_same(environment: StormEnvironment) -> None:
    storm = stormed(environment, subject_of("ending"), "random-kids")
    assert (storm.calls["token"] != "known").sum() == 2 * 40
    assert "BaseException SystemExit" in with_verdict(storm, Verdict.FAIL)["refusals"].reason


@pytest.mark.parametrize(
    ("name", "how", "token"),
    [
        ("dying", "process 0 died of SIGSEGV, process 1 died of SIGSEGV; process 0, forged none RS256: ey", "forged"),
        ("dying_at_once", "process 0 died of SIGSEGV, process 1 died of SIGSEGV; process 0, known: (a valid", "known"),
        ("hanging", "process 0 hung, process 1 hung; process 0, forged form -: x", "forged"),
    ],
)
def test_a_verifier_that_dies_or_hangs_is_wrong_by_name_and_with_the_token(
    environment: StormEnvironment, monkeypatch: pytest.MonkeyPatch, name: str, how: str, token: str
) -> None:
    monkeypatch.setattr("rig.storms.unknown_kid.one_case._SLACK_S", 2.0)
    monkeypatch.setattr(KeyCase, "duration_s", 4.0)
    storm = stormed(environment, subject_of(name), "forged-tokens")
    failed = with_verdict(storm, Verdict.FAIL)
    assert set(failed) == {"lives"}
    assert failed["lives"].reason.startswith(how)
    assert {incident.kind.partition(" ")[0] for incident in storm.incidents} == {token}
    assert not with_verdict(storm, Verdict.PASS)  # what nobody was asked is no success


def test_of_a_verifier_that_cannot_be_made_nothing_is_known(environment: StormEnvironment) -> None:
    storm = stormed(environment, subject_of("unborn"), "random-kids")
    assert not with_verdict(storm, Verdict.PASS, Verdict.FAIL)
    reasons = {gate.reason for gate in with_verdict(storm, Verdict.INVALID).values()}
    assert all("process 0 ImportError: no such library" in reason for reason in reasons), reasons


@pytest.mark.parametrize("case", ["random-kids", "forged-tokens", "rotation-outside"])
@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("only_rs256", VerifierTraits(algorithms=("RS256",), keys=2, grain_s=1.0)),
        ("asynchronous", VerifierTraits(waits=True)),
    ],
)
def test_a_verifier_that_is_right_passes_whatever_it_is_made_of(
    environment: StormEnvironment, case: str, name: str, traits: VerifierTraits
) -> None:
    storm = stormed(environment, subject_of(name, traits=traits), case)
    assert not with_verdict(storm, Verdict.FAIL, Verdict.INVALID), storm_gates(storm)
    assert storm.verifier_settings.cool_down_s == (2.0 if traits.grain_s else 1.2)


def test_what_a_verifier_kept_from_the_case_before_is_of_no_use(
    environment: StormEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys are those of the first case: in the second it refuses every valid token, and cannot be made ready."""
    section = UnknownKid(
        subject="tests.storms.subjects:hoarding",
        prepare=("{python}", "-m", "fleet_jwks"),
        promises=VerifierPromises(cool_down_s=1.2, jitter=0.2),
    )
    profile = environment.profile.model_copy(update={"storms": Storms(unknown_kid=section)})
    monkeypatch.setenv("HOARD", str(environment.folder / "hoard"))
    order = StormOptions(processes=2, key_ids=10, cases=("random-kids", "flood"))
    first, second = unknown_kid(replace(environment, profile=profile), order)
    assert not set(with_verdict(first, Verdict.FAIL)) - {"single-flight", "amplification", "floor"}
    assert not with_verdict(second, Verdict.PASS)


def test_settings_that_are_promised_hold_and_the_rest_are_the_cases(environment: StormEnvironment) -> None:
    case = subject_of("believer", traits=VerifierTraits(grain_s=1.0)).case("failing-cached")
    assert case.verifier_settings == replace(
        VerifierSettings(), cool_down_s=2.0, backoff_base_s=1.0, backoff_cap_s=1.0, jitter=0.2
    )


SERVICE = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from fleet_jwks import factory

verify = factory(os.environ)

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        token = self.headers["Authorization"].removeprefix("Bearer ")
        if DIES and ".." in token:
            signal.raise_signal(signal.SIGSEGV)
        try:
            verify(token)
        except Exception:
            self.send_response(401)
        else:
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    log_message = lambda *_: None

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def fleet_of(environment: StormEnvironment, **changes: Any) -> StormEnvironment:
    section = UnknownKid(path="/", promises=VerifierPromises(cool_down_s=1.2, wait_timeout_s=2.5), **changes)
    profile = environment.profile.model_copy(update={"storms": Storms(unknown_kid=section)})
    return replace(environment, profile=profile)


@pytest.mark.parametrize("case", ["random-kids", "cold-start", "leader-killed", "leader-stopped"])
def test_a_fleet_behind_http_is_started_killed_and_stopped(environment: StormEnvironment, case: str) -> None:
    script = environment.folder / "service.py"
    script.write_text(f"DIES = False\n{SERVICE}")
    fleet = fleet_of(environment, command=("{python}", str(script), "{port}"), prepare=("{python}", "-m", "fleet_jwks"))
    (storm,) = unknown_kid(fleet, StormOptions(processes=3, key_ids=20, cases=(case,)))
    assert not with_verdict(storm, Verdict.FAIL, Verdict.INVALID), storm_gates(storm)
    assert storm.fetches[0].member in range(3)
    assert with_verdict(storm, Verdict.PASS)


def test_a_process_behind_http_that_dies_of_a_token_is_wrong_by_name(environment: StormEnvironment) -> None:
    script = environment.folder / "service.py"
    script.write_text(f"DIES = True\n{SERVICE}")
    fleet = fleet_of(environment, command=("{python}", str(script), "{port}"), prepare=("{python}", "-m", "fleet_jwks"))
    (storm,) = unknown_kid(fleet, StormOptions(processes=2, cases=("forged-tokens",)))
    failed = with_verdict(storm, Verdict.FAIL)
    assert set(failed) == {"lives"}
    assert failed["lives"].reason.startswith("process 0 died of SIGSEGV, process 1 died of SIGSEGV; process 0, forged")


NODE_MODULES = Path(os.environ.get("RIG_TEST_NODE_MODULES", "node_modules"))


JOURNAL = """
import { subscribe } from "node:diagnostics_channel";
import { appendFileSync } from "node:fs";
const note = (what) => appendFileSync(process.env.JOURNAL, `${process.pid} ${what}\\n`);
subscribe("undici:request:create", () => note("fetch"));
subscribe("http.client.request.start", () => note("fetch"));
subscribe("http.server.response.finish", ({ response }) => note(response.statusCode));
// The rig ends a process at its last answer, which may arrive before it is noted here.
process.once("SIGTERM", () => setImmediate(() => process.exit()));
"""
"""Node itself tells of every request that a process sends and of every answer that it gives."""


@pytest.mark.skipif(not (NODE_MODULES / "jose").is_dir(), reason="RIG_TEST_NODE_MODULES names no folder with jose")
@pytest.mark.parametrize("case", ["random-kids", "cold-start", "rotation-inside", "failing-cached"])
@pytest.mark.parametrize("library", ["jose", "jwks-rsa"])
def test_the_figures_of_node_processes_are_those_of_their_own_logs(tmp_path: Path, library: str, case: str) -> None:
    script = Path(__file__).parents[2] / "docs" / "scoreboards" / "subjects" / "verify.mjs"
    (tmp_path / "journal.mjs").write_text(JOURNAL)
    log = tmp_path / "log"
    run = f"JOURNAL={log} exec node --import {tmp_path}/journal.mjs {script} {library} {{port}}"
    (tmp_path / "node.toml").write_text(
        "[storms.unknown-kid]\npath = '/'\n"
        f"command = ['/bin/sh', '-c', 'cd {NODE_MODULES.parent.resolve()} && {run}']\n"
        "promises = { algorithms = ['RS256'], keys = 2, cool_down_s = 1.2, backoff_base_s = 0.25, backoff_cap_s = 1 }\n"
    )
    words = ("--profile", "node.toml", "--processes", "4", "--key-ids", "20", "--case", case)
    done = rig("storm", "unknown-kid", *words, "--json", folder=tmp_path)
    assert done.code == 1, done.err
    pack = only_pack(tmp_path / "results")
    logs = "".join(path.read_text() for path in pack.glob("logs/*"))
    assert "Traceback" not in done.err + logs
    noted = Counter(tuple(line.split()) for line in log.read_text().splitlines())
    counts = {what: sum(count for (_, one), count in noted.items() if one == what) for what in ("fetch", "200", "401")}
    figures, calls = done.document()["figures"], pd.read_parquet(pack / f"storms/unknown-kid/{case}-http.parquet")
    errors = Counter(calls["error"])
    assert set(errors) == {"", "Rejected 401"}
    warmed = 0 if case == "cold-start" else 4  # a valid token for each process, before the release
    assert counts == {
        "fetch": figures["fetches_before_release"] + figures["fetches"],
        "200": int(calls["accepted"].sum()) + warmed,
        "401": errors["Rejected 401"],
    }


@pytest.mark.parametrize("case", ["ttl-expiry", "withdrawn-key"])
def test_keys_that_never_expire_are_not_waited_for(environment: StormEnvironment, case: str) -> None:
    storm = stormed(environment, subject_of("refuses", traits=VerifierTraits(expires=False)), case)
    assert storm.not_run == "the keys of refuses never expire by themselves (promises.expires)"


def test_keys_that_live_for_long_are_not_waited_for(environment: StormEnvironment) -> None:
    storm = stormed(environment, replace(subject_of("refuses"), promises=(("ttl_s", 300.0),)), "withdrawn-key")
    assert storm.not_run == "its keys expire after 300 s (promises.ttl_s), and the rig waits for 60 s at most"
