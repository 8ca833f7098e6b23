"""A certificate of another pack holds here only while nothing has changed, for a day, and where a spot check agrees."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from rig.checks.instrument import check_null
from rig.checks.reuse import LONGEST_H, conditions_of, find_objections
from rig.evidence.case import Case
from rig.evidence.certificate import Reuse
from rig.evidence.gate import Verdict
from tests.checks.cases import certificate, latency_step, null_trial

FINGERPRINT = {
    "boot_id": "b1",
    "cpu_model": "Zen",
    "cores": 2,
    "cores_allowed": 2,
    "cpu_quota_cores": None,
    "memory_bytes": 8_000_000_000,
    "kernel": "6.1",
    "python": "3.11.7",
    "libraries": {"uvloop": "0.21"},
    "rig": "0.2",
    "code_sha256": "c0",
    "core_planning": {"client": [0], "server": [1], "database": [], "not_separated": []},
    "load_average": [0.1, 0.1, 0.1],
}
PROFILE = {"routes": [{"name": "stripe", "sender": "stripe"}, {"name": "shop"}], "headers": {}}
SETTINGS = {"workers": 1, "seed": 1}


def judged(*, now: Any = FINGERPRINT, profile: Any = PROFILE, settings: Any = SETTINGS, **reused: Any) -> Case:
    """The case of a run that has reused a certificate two hours old; ``reused`` changes what it says of that."""
    conditions = conditions_of(FINGERPRINT, PROFILE, SETTINGS, "stripe")
    agreed = Reuse(
        "20260101T000000Z-calibrate-1",
        "0" * 64,
        datetime(2026, 1, 1, tzinfo=UTC),
        2.0,
        conditions,
        null_trial(),
        latency_step(2000.0),
    )
    taken = certificate(route="stripe", reused=replace(agreed, **reused))
    return Case(certificate=taken, fingerprint=now, profile=profile, settings=settings)


@pytest.mark.parametrize(
    "given",
    [
        judged(),
        judged(age_h=LONGEST_H),
        # What does not touch the client may change.
        judged(now=FINGERPRINT | {"load_average": [2.0, 1.0, 0.5], "target_commit": "new"}),
        judged(profile={**PROFILE, "routes": [PROFILE["routes"][0]]}, settings=SETTINGS | {"seed": 2}),
        # A machine that is faster now is no objection, nor are differences as between the trials of one certificate.
        judged(trial=null_trial(rps=60_000, client_cpu_us_per_request=8)),
        judged(trial=null_trial(rps=24_000, client_cpu_us_per_request=18)),
    ],
)
def test_a_certificate_that_holds(given: Case) -> None:
    assert find_objections(given) == []
    (gate,) = check_null(given)
    assert gate.verdict is Verdict.PASS
    assert gate.figures["certificate"].startswith("that of 20260101T000000Z-calibrate-1, ")
    assert gate.figures["spot_check_rps"] == round(given.certificate.reused.trial.rps)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (judged(age_h=24.1), "it is 24.1 h old, and holds for 24 h"),
        (judged(age_h=-1.0), "it is -1.0 h old"),
        *(
            (judged(now=FINGERPRINT | {key: other}), f"the {words} is another")
            for key, other, words in (
                ("boot_id", "b2", "start of the machine"),
                ("cpu_model", "Xeon", "processor"),
                ("cores", 4, "number of cores"),
                ("cpu_quota_cores", 1.0, "CPU quota"),
                ("kernel", "6.2", "kernel"),
                ("libraries", {"uvloop": "0.22"}, "set of libraries"),
                ("code_sha256", "c1", "code of the rig"),
                ("core_planning", {"client": [1], "server": [0]}, "choice of cores"),
            )
        ),
        (judged(now={}), "the processor is another"),
        (judged(settings={"workers": 2}), "the number of workers is another: 2, was 1"),
        (judged(profile={"routes": [{"name": "stripe", "sender": "paypal"}]}), "the sender of route stripe is another"),
        (judged(profile={"routes": []}), "the sender of route stripe is another"),
        (judged(trial=None), "there was no spot check"),
        (judged(trial=null_trial(rps=22_000)), "the spot check reached 22,000 requests/s, the certificate says 30,000"),
        (judged(trial=null_trial(client_cpu_us_per_request=19)), "took 19.0 µs of CPU a request"),
        (judged(trial=null_trial(signing_us_per_request=400)), "a signature took 400 µs"),
        (judged(trial=null_trial(failures=1)), "1 of 75,000 requests of the spot check had no proper answer"),
        (judged(step=None), "the spot check measured no latency"),
        (judged(step=latency_step(2000.0, unanswered=3)), "spot check, 5ms at 2,000/s: 3 requests had no answer"),
        (judged(step=latency_step(500.0)), "the spot check ran at 500/s, the certificate covers 2,000/s"),
        (judged(step=latency_step(2000.0, lag_p99_ms=2.5)), "exact to 2.5 ms, the certificate says 0.3"),
    ],
)
def test_a_certificate_that_does_not_hold(given: Case, says: str) -> None:
    assert any(says in objection for objection in find_objections(given)), find_objections(given)
    (gate,) = check_null(given)
    assert gate.verdict is Verdict.INVALID
    assert says in gate.reason
