"""The cases of the key storm as values: each can be made, lasts long enough, and is judged by gates that exist."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet_jwks import Protection
from rig.checks.key_storms.findings import SCHEDULING_S
from rig.checks.key_storms.gates import GATES
from rig.checks.race_tests.catalog import PROTECTIONS
from rig.evidence.key_case import Token
from rig.evidence.storm import UNKNOWN_KID
from rig.evidence.verifier_settings import VerifierSettings
from rig.profile.storms import VerifierPromises
from rig.selftest.weaknesses import WEAKNESSES
from rig.storms.unknown_kid.cases import CASES
from rig.storms.unknown_kid.storm import TIMES

PROMISED = VerifierSettings(**VerifierPromises().model_dump(include=TIMES))


def test_every_case_is_judged_by_gates_that_exist_and_every_gate_has_a_case() -> None:
    used = {name for build in CASES.values() for name in build(None).gates}
    assert used == set(GATES)
    assert all(build(None).name == name for name, build in CASES.items())


def test_a_rotation_outside_the_cool_down_is_asked_for_until_its_limit_is_long_over() -> None:
    case = CASES["rotation-outside"](None)
    (client,) = [client for client in case.clients if client.token is Token.ROTATED]
    fetch_s = max(change.delay_s or 0 for change in case.origin)
    assert client.count == 0
    assert client.until_s > 2 * (fetch_s + SCHEDULING_S)


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_every_case_can_be_made_for_all_the_jitter_that_may_be_promised(jitter: float) -> None:
    for promises in (VerifierSettings(jitter=jitter), replace(PROMISED, jitter=jitter)):
        for build in CASES.values():
            case = build(promises)
            assert case.necessary is None or 0 <= case.necessary < 1000, case.name


@pytest.mark.parametrize("name", ["failing-cached", "failing-cold"])
@pytest.mark.parametrize("promises", [None, PROMISED])
def test_an_outage_lasts_for_eight_failures_and_time_is_left_to_recover(
    name: str, promises: VerifierSettings | None
) -> None:
    case = CASES[name](promises)
    (back_s,) = [change.at_s for change in case.origin if change.mode == "ok"]
    assert back_s > sum(case.verifier_settings.backoff_s(failures) for failures in range(1, 9))
    longest_s = case.verifier_settings.backoff_cap_s * (1 + case.verifier_settings.jitter)
    assert all(client.until_s > back_s + longest_s for client in case.clients)


@pytest.mark.parametrize("promises", [None, PROMISED])
def test_no_case_is_cut_before_its_lanes_have_ended(promises: VerifierSettings | None) -> None:
    for build in CASES.values():
        case = build(promises)
        assert case.duration_s >= max(20.0, *(client.until_s for client in case.clients)), case.name


def test_every_protection_of_the_reference_is_proven_and_turns_something_red() -> None:
    assert set(PROTECTIONS[UNKNOWN_KID]) == {protection.value for protection in Protection}
    weak = [weakness for weakness in WEAKNESSES if weakness.storm == UNKNOWN_KID and weakness.without]
    assert {name for weakness in weak for name in weakness.without} == set(PROTECTIONS[UNKNOWN_KID])
    assert all(weakness.red for weakness in weak)
