"""What is sent and what is expected of it, derived from the seed alone."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
import uuid
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.model import RequestClass, Row, RunKey, Scenario, Share
from rig.profile import Profile, bundled_profile, load_profile
from rig.requests.address import Address
from rig.requests.canary import CANARY_PATTERN
from rig.requests.identity import Namespace, Series
from rig.requests.targeter import Composition, Targeter, Targets
from scenarios.ladder import Ladder
from tests.engine.scenes import RUN, credentials, scenario, taken_apart

PROFILE = load_profile(bundled_profile())
NOW = 1_800_000_123
ROUTES = tuple(route.name for route in PROFILE.routes)
TENANTS = ("A", "B", "C", "D", "E")

shares = st.lists(
    st.builds(
        Share,
        st.sampled_from(RequestClass),
        st.integers(1, 30),
        one_key=st.booleans(),
        source=st.none() | st.text(max_size=12),
    ),
    min_size=1,
    max_size=4,
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    parts = tuple(draw(shares))
    return scenario(
        sum(part.count for part in parts),
        shares=parts,
        tenants=TENANTS[: draw(st.integers(1, len(TENANTS)))],
        route=draw(st.sampled_from(ROUTES)),
        shuffled=draw(st.booleans()),
        shared_key=draw(st.booleans()),
    )


runs = st.builds(RunKey, st.integers(-(2**63), 2**64), st.text(max_size=20), st.integers(1_000_000_000, 4_000_000_000))


def bound(scene: Scenario, run: RunKey = RUN, profile: Profile = PROFILE) -> Targets:
    return Targeter(profile, run, Address("127.0.0.1:1", "/base")).bind(scene, credentials(profile, scene.tenants))


def requests(targets: Targets) -> list[bytes]:
    return [targets.request(seq, NOW) for seq in range(targets.scenario.count)]


# --- the same again, and different -------------------------------------------------------------------------------


@given(scenarios(), runs)
@settings(max_examples=40)
def test_the_same_numbers_give_the_same_bytes_in_another_targeter(scene: Scenario, run: RunKey) -> None:
    first, second = bound(scene, run), bound(scene, run)
    assert requests(first) == requests(second)
    everything = range(scene.count)
    assert [first.expect(seq) for seq in everything] == [second.expect(seq) for seq in everything]


@given(scenarios(), runs, runs)
@settings(max_examples=40)
def test_another_seed_or_run_gives_other_keys_correlations_and_canaries(
    scene: Scenario, run: RunKey, other: RunKey
) -> None:
    if (run.seed, run.run_id) == (other.seed, other.run_id):
        return

    def names(run: RunKey) -> set[object]:
        targets = bound(scene, run)
        each = range(scene.count)
        return {
            *(targets.key(seq) for seq in each),
            *(targets.correlation(seq) for seq in each),
            *(targets.canary(seq) for seq in each),
        }

    assert names(run).isdisjoint(names(other))


def test_keys_stay_what_they_were() -> None:
    """Packs are judged again by deriving their keys again: a change here orphans every pack there is."""
    targets = bound(scenario(3, id="S2"))
    assert targets.key(2) == "61d0849e-1012-50bc-9ede-e103a4605be8"
    assert targets.correlation(2) == "3ea6b4a3-20fc-5418-9cf4-afd979a19062"


@given(st.uuids(), st.text())
def test_names_are_version_5_uuids(namespace: uuid.UUID, name: str) -> None:
    assert Namespace(namespace).name(name) == str(uuid.uuid5(namespace, name))


@given(st.uuids(), st.text(), st.integers(0, 2**48 - 2001))
def test_a_series_gives_every_number_a_uuid_of_its_own(namespace: uuid.UUID, name: str, begin: int) -> None:
    series = Series(Namespace(namespace), name)
    assert series[0].decode() == str(uuid.uuid5(namespace, name))
    ids = [series[number].decode() for number in range(begin, begin + 2000)]
    assert len(set(ids)) == 2000
    assert all(str(uuid.UUID(each)) == each and uuid.UUID(each).version == 5 for each in ids)


def test_a_series_is_scattered() -> None:
    series = Series(Namespace(uuid.NAMESPACE_URL), "anything")
    tenths = Counter(int(series[number][:8], 16) * 10 >> 32 for number in range(10_000))
    assert all(abs(tenths[tenth] - 1000) < 50 for tenth in range(10))


def test_two_series_have_nothing_in_common() -> None:
    namespace = Namespace(uuid.NAMESPACE_URL)
    ends = {Series(namespace, f"series {number}")[number][13:] for number in range(5000)}
    assert len(ends) == 5000


# --- no key twice ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ladder",
    [
        Ladder(ROUTES, PROFILE.sources),
        Ladder(ROUTES, PROFILE.sources, tenants=3),
        # Steps that equal counts elsewhere: nothing but the name of a drive may tell its keys apart.
        Ladder(ROUTES, PROFILE.sources, steps=(10, 100), spread=5, perf_requests=100),
    ],
    ids=["default", "tenants", "clashing"],
)
def test_no_key_is_used_twice_but_where_it_is_declared(ladder: Ladder) -> None:
    users: defaultdict[str, list[tuple[Scenario, int, str]]] = defaultdict(list)
    correlations: list[str] = []
    canaries: list[int] = []
    for scene in ladder.scenarios():
        targets = bound(scene)
        for seq in range(scene.count):
            expected = targets.expect(seq)
            users[expected.key].append((scene, seq, expected.tenant))
            correlations.append(expected.correlation)
            canaries.append(targets.canary(seq).number)
    for key, uses in users.items():
        scenario_runs = {scene.label for scene, _, _ in uses}
        assert len(scenario_runs) == 1, (key, scenario_runs)
        if len(uses) == 1:
            continue
        scene, first, _ = uses[0]
        assert bound(scene).share(first).one_key, key
        assert scene.shared_key or len({tenant for _, _, tenant in uses}) == 1, key
    assert len(set(correlations)) == len(correlations)
    assert not set(correlations) & set(users)
    assert len(set(canaries)) == len(canaries)


def test_the_documented_ladder_has_one_key_for_s1_and_one_for_s5() -> None:
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for scene in Ladder(ROUTES, PROFILE.sources, documented=True).scenarios():
        targets = bound(scene)
        keys[scene.id] |= {targets.key(seq) for seq in range(scene.count)}
    assert (len(keys["S1"]), len(keys["S5"])) == (1, 1)
    assert len(keys["S2"]) == 50 + 250 + 1000
    assert sum(len(of_one) for of_one in keys.values()) == len(set().union(*keys.values()))


def test_one_key_means_one_body_and_one_per_tenant() -> None:
    scene = scenario(12, shares=(Share(RequestClass.REPLAY, 12, one_key=True),), tenants=TENANTS[:3])
    targets = bound(scene)
    events = {(targets.expect(seq).tenant, targets.key(seq), targets.body(seq, NOW)) for seq in range(12)}
    assert len(events) == 3
    assert len({key for _, key, _ in events}) == 3


# --- composition -------------------------------------------------------------------------------------------------


@given(scenarios(), st.integers(-(2**63), 2**64))
@settings(max_examples=100)
def test_composition_is_exact(scene: Scenario, seed: int) -> None:
    composition = Composition(scene, seed)
    assert sorted(composition.index.tolist()) == list(range(scene.count))
    if not scene.shuffled:
        assert composition.index.tolist() == list(range(scene.count))
    assert np.bincount(composition.share, minlength=len(scene.shares)).tolist() == [
        share.count for share in scene.shares
    ]
    for number in range(len(scene.shares)):
        spread = np.bincount(composition.tenant[composition.share == number], minlength=len(scene.tenants))
        assert spread.max() - spread.min() <= 1
        if not scene.shuffled:
            turns = composition.tenant[composition.share == number].tolist()
            assert turns == [place % len(scene.tenants) for place in range(len(turns))]


def test_shuffling_shuffles_and_the_seed_matters() -> None:
    parts = (Share(RequestClass.REPLAY, 500, one_key=True), Share(RequestClass.VALID, 500))
    scene = scenario(1000, shares=parts, shuffled=True)
    orders = [Composition(scene, seed).index.tolist() for seed in (1, 2)]
    assert orders[0] != orders[1]
    first_half = Composition(scene, 1).share[:500]
    assert 200 < int((first_half == 0).sum()) < 300


# --- the request on the wire -------------------------------------------------------------------------------------


@given(scenarios(), runs)
@settings(max_examples=60)
def test_a_request_is_well_formed_and_says_who_it_is(scene: Scenario, run: RunKey) -> None:
    targets = bound(scene, run)
    route = PROFILE.route(scene.route)
    for seq, raw in enumerate(requests(targets)):
        message, expected = taken_apart(raw), targets.expect(seq)
        assert message.line == f"POST /base{route.path} HTTP/1.1"
        assert message.headers["Host"] == "127.0.0.1:1"
        assert message.headers["Content-Type"] == route.content_type
        assert int(message.headers["Content-Length"]) == len(message.body)
        assert message.headers[PROFILE.headers.tenant_key] == f"key-of-{expected.tenant}"
        assert message.headers[PROFILE.headers.idempotency_key] == expected.key
        assert message.headers[PROFILE.headers.correlation_id] == expected.correlation


def hmac_sha256(secret: bytes, message: bytes) -> bytes:
    """RFC 2104 by the letter, independent of the module that the signer uses."""
    block = (hashlib.sha256(secret).digest() if len(secret) > 64 else secret).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()


@pytest.mark.parametrize("route", PROFILE.routes, ids=lambda route: route.name)
def test_signatures_verify(route: Any) -> None:
    scene = scenario(4, route=route.name, tenants=("A", "B"))
    theirs = {one["name"]: one["scheme"] for one in tomllib.loads(bundled_profile().read_text())["routes"]}
    for seq, raw in enumerate(requests(bound(scene))):
        message = taken_apart(raw)
        secret = f"{route.secret}-of-{scene.tenants[seq % 2]}".encode()
        expected = {
            "stripe": f"t=1800000123,v1={hmac_sha256(secret, b'1800000123.' + message.body).hex()}",
            "hmac-sha256-base64": base64.b64encode(hmac_sha256(secret, message.body)).decode(),
            "hmac-sha256-hex": hmac_sha256(secret, message.body).hex(),
        }[theirs[route.name]]
        assert message.headers[route.signature_header] == expected


# --- bodies by class ---------------------------------------------------------------------------------------------


@given(scenarios(), runs)
@settings(max_examples=60)
def test_all_bodies_parse_but_the_invalid_ones_never(scene: Scenario, run: RunKey) -> None:
    targets = bound(scene, run)
    for seq in range(scene.count):
        body = targets.body(seq, NOW)
        assert is_object(body) == (targets.share(seq).request_class is not RequestClass.INVALID_JSON)


def is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


@given(st.text(max_size=20))
def test_a_source_arrives_as_it_was_given(source: str) -> None:
    scene = scenario(1, shares=(Share(RequestClass.VALID, 1, source=source),), route="paypal")
    body = json.loads(bound(scene).body(0, NOW))
    assert body["resource"]["custom"] == (source or PROFILE.default_source)


def at(document: Any, path: str) -> Any:
    """The value at a dotted path; LookupError where there is none."""
    for step in path.split("."):
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document


def without(document: Any, path: str) -> Any:
    *steps, last = path.split(".")
    parent = at(document, ".".join(steps)) if steps else document
    del parent[last]
    return document


@pytest.mark.parametrize("route", PROFILE.routes, ids=lambda route: route.name)
def test_a_malformed_body_lacks_what_its_mutation_says_and_nothing_else(route: Any) -> None:
    count = 2 * len(route.malformed)
    good = bound(scenario(count, route=route.name))
    bad = bound(scenario(count, shares=(Share(RequestClass.MALFORMED, count),), route=route.name))
    for seq in range(count):
        mutation = route.malformed[seq % len(route.malformed)]
        whole, spoilt = json.loads(good.body(seq, NOW)), json.loads(bad.body(seq, NOW))
        path = mutation.remove or mutation.set
        if mutation.remove:
            with pytest.raises(LookupError):
                at(spoilt, path)
            assert without(whole, path) == spoilt
        else:
            assert at(spoilt, path) == mutation.to != at(whole, path)
            assert without(whole, path) == without(spoilt, path)


@pytest.mark.parametrize("route", PROFILE.routes, ids=lambda route: route.name)
def test_a_personal_body_carries_its_canary_and_the_pattern_finds_nothing_else(route: Any) -> None:
    ways = len(route.personal) + 1
    count = 3 * ways
    targets = bound(scenario(count, shares=(Share(RequestClass.PERSONAL, count),), route=route.name))
    for seq in range(count):
        body, canary = targets.body(seq, NOW).decode(), targets.canary(seq)
        found = re.findall(CANARY_PATTERN, body)
        assert set(found) <= set(canary.tokens)
        fields = route.personal if seq % ways == ways - 1 else [route.personal[seq % ways]]
        assert len(found) == len(fields)
        for field in fields:
            assert at(json.loads(body), field.at) == canary.values()[f"canary-{field.kind}"]
    clean = bound(scenario(200, route=route.name))
    assert not any(re.search(CANARY_PATTERN, clean.body(seq, NOW).decode()) for seq in range(200))


def test_every_shape_of_a_canary_is_found_whole() -> None:
    canary = bound(scenario(1)).canary(0)
    assert re.findall(CANARY_PATTERN, json.dumps(canary.values())) == [
        canary.tokens[place] for place in (0, 0, 0, 1, 1, 2)
    ]


# --- expectations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_class", "row"),
    [
        (RequestClass.VALID, Row.CANONICAL),
        (RequestClass.REPLAY, Row.CANONICAL),
        (RequestClass.MALFORMED, Row.DEAD),
        (RequestClass.PERSONAL, Row.DEAD),
        (RequestClass.INVALID_JSON, Row.DEAD),
    ],
)
def test_expectations_follow_the_class(request_class: RequestClass, row: Row) -> None:
    scene = scenario(2, shares=(Share(request_class, 2, channel="paid"),), tenants=("A", "B"))
    expected = [bound(scene).expect(seq) for seq in range(2)]
    assert [each.tenant for each in expected] == ["A", "B"]
    assert {(each.request_class, each.row, each.channel) for each in expected} == {(request_class, row, "paid")}


def test_expectations_follow_the_profile() -> None:
    answers = {"malformed": {"status": [422], "row": "none"}}
    picky = Profile.model_validate(PROFILE.model_dump() | {"answers": answers})
    scene = scenario(1, shares=(Share(RequestClass.MALFORMED, 1),))
    assert bound(scene, profile=picky).expect(0).row is Row.NONE


def test_expectations_need_no_credentials_but_requests_do() -> None:
    targets = Targeter(PROFILE, RUN).bind(scenario(1))
    assert targets.expect(0).tenant == "A"
    with pytest.raises(KeyError):
        targets.request(0, 1)
