"""What held a null benchmark back: a table of figures and the blame that they carry."""

from __future__ import annotations

import pytest

from rig.calibrate.null import explain, limit_of
from rig.evidence.certificate import Certificate, NullTrial
from tests.checks.cases import null_trial


def trial(
    *,
    worker: float = 0.3,
    stub: float = 0.3,
    cores: tuple[float, ...] = (0.4, 0.4),
    steal: float = 0.0,
    stalled: float = 0.0,
    throttled_s: float = 0.0,
    rps: float = 1000.0,
    failures: int = 0,
    signing_us: float = 0.0,
    ahead: bool = False,
) -> NullTrial:
    """A trial of 10 s under the floor, with nothing at its limit but what is given."""
    return null_trial(
        rps=rps,
        elapsed_s=10.0,
        requests=10_000,
        failures=failures,
        worker_utilisation=worker,
        stub_utilisation=stub,
        stalled=stalled,
        cores_busy=cores,
        steal=steal,
        throttled_s=throttled_s,
        client_cpu_us_per_request=1300,
        signing_us_per_request=signing_us,
        signed_ahead=ahead,
    )


@pytest.mark.parametrize(
    ("found", "alone", "reason", "says"),
    [
        # A worker fills one core while the other idles: the story that this rig was made for. No bigger machine helps.
        (trial(worker=0.97, cores=(0.97, 0.05)), False, "client-bound", "97% of one core"),
        (trial(worker=0.97, cores=(0.97,) + (0.05,) * 15), False, "client-bound", "--workers"),
        # A worker that was stopped or starved, with idle CPU beside it.
        (trial(stalled=0.8), False, "client-bound", "did not run for 80%"),
        # The same on a full machine: the machine is the reason.
        (trial(stalled=0.8, cores=(1.0, 0.98)), False, "hardware-bound", "all 2 cores were 99% busy"),
        # Sharing a full machine leaves more than this: whoever gets next to nothing is kept from running.
        (trial(stalled=0.5, worker=0.01, cores=(1.0, 0.98)), False, "client-bound", "stopped or throttled"),
        # Signatures that fill a core, or all: no bigger machine helps, and no more workers.
        (trial(worker=0.98, signing_us=1240), False, "client-bound", "signing takes 1.2 ms of the 1.3 ms a request"),
        (trial(worker=0.98, signing_us=1240, cores=(1.0, 1.0)), False, "client-bound", "prepared ahead"),
        (trial(worker=0.6, signing_us=1240, cores=(1.0, 1.0), stalled=0.5), False, "client-bound", "a cheaper key"),
        # Signatures that were made before the clock, cost little, or wait for a quota limit nothing.
        (trial(worker=0.98, signing_us=1240, ahead=True), False, "client-bound", "--workers"),
        (trial(worker=0.98, signing_us=400, cores=(1.0, 1.0)), False, "hardware-bound", "all 2 cores"),
        (trial(worker=0.4, signing_us=1240, throttled_s=6.0), True, "client-bound", "lift the quota"),
        # All cores busy, whoever used them.
        (trial(worker=0.95, stub=0.95, cores=(0.97, 0.95)), False, "hardware-bound", "all 2 cores"),
        # The hypervisor took the time; cores then look busy as well.
        (trial(steal=0.3, cores=(0.95, 0.95)), False, "hardware-bound", "hypervisor took 30%"),
        (trial(steal=0.3), False, "hardware-bound", "hypervisor"),
        # A quota: on all that can be seen of the machine, or on a group among others.
        (trial(throttled_s=4.0), False, "hardware-bound", "quota held the rig back for 4.0 s of 10.0 s"),
        (trial(throttled_s=4.0), True, "client-bound", "lift the quota"),
        (trial(throttled_s=4.0, stalled=0.5), True, "client-bound", "quota"),
        # A quota that hardly bit explains nothing.
        (trial(throttled_s=0.2, stub=0.95), True, "stub-bound", "the client could do more"),
        # The stub fills its core, the client does not.
        (trial(stub=0.96, cores=(0.96, 0.3)), False, "stub-bound", "stub used 96%"),
        # Nothing at its limit: still the client's to explain.
        (trial(), False, "client-bound", "nothing was at its limit"),
    ],
)  # fmt: skip
def test_the_limit_is_named_by_its_figures(found: NullTrial, alone: bool, reason: str, says: str) -> None:
    named, explanation = limit_of(found, group_alone=alone)
    assert named == reason
    assert says in explanation


def test_only_hardware_may_advise_a_bigger_machine() -> None:
    for found in (trial(), trial(worker=0.97), trial(stub=0.97), trial(stalled=0.9), trial(worker=1, signing_us=900)):
        reason, explanation = limit_of(found)
        assert reason != "hardware-bound"
        assert "more cores" not in explanation


def test_the_median_trial_speaks_for_the_certificate() -> None:
    certificate = Certificate(2000.0, 2, (trial(rps=9000.0), trial(rps=1000.0), trial(rps=4000.0)))
    assert (certificate.rps, certificate.headroom) == (4000.0, 2.0)


@pytest.mark.parametrize(
    ("rates", "failures", "reason", "says"),
    [
        ((98_000.0, 97_000.0, 99_000.0), (0, 0, 0), "", ""),
        # Both cores are busy because it was fast: that explains no failure.
        (
            (98_000.0, 97_000.0, 99_000.0),
            (0, 0, 1),
            "failures",
            "1 of 30,000 requests to the stub had no proper answer",
        ),
        ((2000.0, 2000.0, 2000.0), (1000, 200, 0), "failures", "1,200 of 30,000 requests"),
        # Below the floor it is the rate that is explain.
        ((1999.0, 1999.0, 1999.0), (0, 0, 1), "hardware-bound", "all 2 cores"),
    ],
)
def test_a_rate_that_is_enough_is_not_explained(
    rates: tuple[float, ...], failures: tuple[int, ...], reason: str, says: str
) -> None:
    busy = [trial(rps=rps, failures=failed, cores=(0.97, 0.95)) for rps, failed in zip(rates, failures, strict=True)]
    found = explain(Certificate(2000.0, 1, tuple(busy)))
    assert found.reason == reason
    assert says in found.explanation
