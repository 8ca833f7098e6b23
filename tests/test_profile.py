"""Profiles: what is read, what is refused and how clearly, and that none of it can break out of a request."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from rig.chaos.catalog import BUILT_IN
from rig.errors import ConfigError, ExitCode
from rig.evidence.chaos import FAULTS
from rig.model import Pace, RequestClass, Row, RunKey, Scenario, Share
from rig.profile import Profile, bundled_profile, load_profile, secret_from
from rig.profile.dotted import steps_of
from rig.profile.fields import OldName, Section
from rig.profile.reference import _section
from rig.profile.routes import WebhookRoute
from rig.requests.address import Address
from rig.requests.body import compile_bodies
from rig.requests.sender import Credentials
from rig.requests.targeter import Targeter

REFERENCE = tomllib.loads(bundled_profile().read_text())


def changed(path: str, value: Any, document: dict[str, Any] = REFERENCE) -> dict[str, Any]:
    """A copy of the document with the value at a dotted path set; ``...`` removes it."""
    head, _, rest = path.partition(".")
    key: Any = int(head) if isinstance(document, list) else head
    copy: Any = list(document) if isinstance(document, list) else dict(document)
    if rest:
        copy[key] = changed(rest, value, copy[key] if isinstance(document, list) else copy.get(key, {}))
    elif value is ...:
        del copy[key]
    else:
        copy[key] = value
    return copy  # type: ignore[no-any-return]  # a list only on the way down


def refusal(tmp_path: Path, document: dict[str, Any]) -> str:
    """What the profile is refused with, as a file that holds the document."""
    file = tmp_path / "wrong.toml"
    file.write_text(toml(document))
    with pytest.raises(ConfigError) as caught:
        load_profile(file)
    assert caught.value.exit_code is ExitCode.CONFIG
    message = str(caught.value)
    assert str(file) in message
    assert "Traceback" not in message
    return message


def toml(value: Any, top: bool = True) -> str:
    """A document as TOML, everything below the top level inline."""
    if top:
        return "".join(f"{toml(key, top=False)} = {toml(item, top=False)}\n" for key, item in value.items())
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key, top=False)} = {toml(item, top=False)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item, top=False) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = re.sub(r'[\x00-\x1f\x7f"\\]', lambda found: f"\\u{ord(found[0]):04x}", value)
        return f'"{escaped}"'
    return str(value)


# --- bundled ---


@pytest.mark.parametrize("name", ["reference", "renamed"])
def test_bundled_profiles_load(name: str) -> None:
    profile = load_profile(bundled_profile(name))
    assert profile.name == name
    for route in profile.routes:
        bodies = compile_bodies(route)
        assert bodies.malformed
        assert bodies.personal
    assert len(profile.sources) >= 2


def names_of(profile: Profile) -> set[str]:
    """Every name that is the target's own."""
    truth, headers, probes = profile.truth, profile.headers, profile.probes
    names = {headers.tenant_key, headers.idempotency_key, headers.correlation_id}
    names |= {probes.health or "", probes.ready or "", probes.metrics or ""}
    names |= {truth.canonical.table, truth.canonical.tenant, truth.canonical.key, truth.dead.table, truth.dead.tenant}
    names |= {truth.canonical.correlation or "", truth.canonical.channel or "", truth.dead.column or ""}
    names |= {truth.dsn_env, truth.runtime_dsn_env, truth.dead.match, *truth.schemas}
    for route in profile.routes:
        names |= {route.name, route.path, route.signature_header, route.secret}
    return names | {alias.channel for alias in profile.channels}


def test_the_second_profile_shares_no_name_with_the_first() -> None:
    reference, renamed = (names_of(load_profile(bundled_profile(name))) for name in ("reference", "renamed"))
    assert reference & renamed == set()
    assert len(renamed) >= 25


def test_the_second_profile_agrees_with_its_service() -> None:
    profile = load_profile(bundled_profile("renamed"))
    service = tomllib.loads(bundled_profile("renamed").with_name("renamed.service.toml").read_text())
    canonical, dead = service["tables"]["canonical"], service["tables"]["dead"]
    assert profile.headers.model_dump(exclude_defaults=True) == service["headers"]
    assert (profile.truth.canonical.table, profile.truth.dead.table) == (canonical["name"], dead["name"])
    assert profile.truth.canonical.key == canonical["idempotency_key"]
    assert profile.truth.dead.column == dead["idempotency_key"]
    text = tomllib.loads(bundled_profile("renamed").read_text())
    ours, theirs = (
        [(route["name"], route["path"], route["scheme"], route["signature_header"]) for route in routes]
        for routes in (text["routes"], service["routes"])
    )
    assert ours == theirs


def test_a_column_for_channels_without_aliases_is_fine() -> None:
    profile = Profile.model_validate(changed("channels", ...))
    assert (profile.sources, profile.truth.canonical.channel) == ((), "channel")


def test_digest_is_of_the_content() -> None:
    one, same = load_profile(bundled_profile()), Profile.model_validate(REFERENCE)
    assert one.digest() == same.digest()
    assert one.digest() != Profile.model_validate(changed("launch.processes", 3)).digest()
    assert len(one.digest()) == 64


# --- content ---


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"path": "a", "constant": "b"}, "give path or constant, not both"),
        ({"type": "unix"}, "type 'unix' needs path"),
        ({"constant": "b", "type": "json"}, "a constant is of type"),
        ({"path": "a", "type": "float"}, "must be 'text', 'integer'"),
        ({"path": "a", "typ": "text"}, "unknown key"),
    ],
)
@pytest.mark.parametrize("section", ["truth.canonical.fields", "truth.dead.fields", "routes.0.fields"])
def test_a_field_that_cannot_be_is_refused(tmp_path: Path, section: str, field: dict[str, Any], message: str) -> None:
    said = refusal(tmp_path, changed(section, {"amount": field}))
    assert f"{section}.amount" in said
    assert message in said


def test_fields_of_a_route_take_the_place_of_those_of_all_routes() -> None:
    document = changed("truth.canonical.fields", {"a": {"path": "x"}, "b": {"path": "y"}})
    profile = Profile.model_validate(changed("routes.0.fields", {"b": {"constant": 1}}, document))
    first, second = (profile.fields(route) for route in profile.routes[:2])
    assert (first["a"].path, first["b"].constant) == ("x", 1)
    assert (second["a"].path, second["b"].path) == ("x", "y")


# --- answers ---


def test_default_answers_are_the_reference_services() -> None:
    profile = Profile.model_validate(REFERENCE)
    rows = {kind: profile.answer(kind, profile.routes[0].name).row for kind in RequestClass}
    assert rows == {
        RequestClass.VALID: Row.CANONICAL,
        RequestClass.REPLAY: Row.CANONICAL,
        RequestClass.MALFORMED: Row.DEAD,
        RequestClass.PERSONAL: Row.DEAD,
        RequestClass.INVALID_JSON: Row.DEAD,
        RequestClass.CONFLICT: Row.NONE,
        RequestClass.FORGED: Row.NONE,
    }
    forged = profile.answer(RequestClass.FORGED, profile.routes[0].name).status
    assert {profile.answer(kind, profile.routes[0].name).status for kind in RequestClass} == {(200,), forged}
    assert (min(forged), max(forged)) == (300, 499)


def test_a_profile_may_answer_otherwise_for_one_class() -> None:
    profile = Profile.model_validate(changed("answers.invalid_json", {"status": [400, 422], "row": "none"}))
    assert profile.answer(RequestClass.INVALID_JSON, profile.routes[0].name).status == (400, 422)
    assert profile.answer(RequestClass.INVALID_JSON, profile.routes[0].name).row is Row.NONE
    assert profile.answer(RequestClass.MALFORMED, profile.routes[0].name).row is Row.DEAD


def test_a_route_may_answer_otherwise_than_the_others() -> None:
    own = {"replay": {"again": [200]}, "malformed": {"row": "none"}}
    document = changed("answers.replay", {"status": [201], "again": [409]})
    profile = Profile.model_validate(changed("routes.1.answers", own, document))
    first, second = (route.name for route in profile.routes[:2])
    assert [profile.answer(RequestClass.REPLAY, name).right for name in (first, second)] == [(201, 409), (201, 200)]
    assert [profile.row(RequestClass.MALFORMED, name) for name in (first, second)] == [Row.DEAD, Row.NONE]


def test_an_unknown_route_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no route 'strip'; it has: stripe, stripe-flat, shopify"):
        Profile.model_validate(REFERENCE).route("strip")


def test_secrets_come_from_the_environment() -> None:
    assert secret_from({"KEY": "value"}, "KEY", "the key") == "value"
    for environ in ({}, {"KEY": ""}):
        with pytest.raises(ConfigError, match="environment variable KEY is not set; it must hold the key"):
            secret_from(environ, "KEY", "the key")


# --- files that are no profile ---


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"profile .*none\.toml does not exist; give --profile the path of a TOML"):
        load_profile(tmp_path / "none.toml")


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: it is a folder"):
        load_profile(tmp_path)


def test_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be read: .*Not a directory"):
        load_profile(tmp_path / "file" / "profile.toml")


def test_a_binary_file(tmp_path: Path) -> None:
    file = tmp_path / "binary.toml"
    file.write_bytes(b"\x7fELF\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"cannot be read: .*utf-8"):
        load_profile(file)


@pytest.mark.parametrize(
    ("text", "where"),
    [("version = ", "at end of document"), ("\n[target\n", "line 2"), ("a = 1\na = 2\n", "line 2"), ("\x00", "line 1")],
)
def test_bad_toml_names_the_line(tmp_path: Path, text: str, where: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"bad.toml is not valid TOML: .*{where}"):
        load_profile(file)


def test_an_empty_file_names_what_is_missing(tmp_path: Path) -> None:
    message = refusal(tmp_path, {})
    for key in ("version", "name", "routes", "truth"):
        assert f"  {key}: required, but missing" in message


# --- keys and values that are wrong ---


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        # Unknown keys, at any depth.
        ("colour", "red", "colour: unknown key"),
        ("headers.tenent_key", "X", "headers.tenent_key: unknown key"),
        ("routes.2.tolerance", 3, "routes.2.tolerance: unknown key"),
        # Missing ones.
        ("routes.0.body", ..., "routes.0.body: required, but missing"),
        ("truth.canonical.table", ..., "truth.canonical: give exactly one of table and sql"),
        # Wrong types and values.
        ("routes", {"name": "main"}, "routes: there may be several: write [[routes]] above each of them"),
        ("truth.canonical", [{}], "truth.canonical: there is only one: write [truth.canonical] in single brackets"),
        ("routes.0.headers", {"X-Version": 5}, "routes.0.headers.X-Version: must be one text, in quotes"),
        ("routes.0.headers", {"Content-Type": "a/b"}, "is a header that the rig writes itself; give content_type"),
        ("answers.valid", {"status": 200}, "answers.valid.status: must be a list: put it in brackets"),
        ("truth.canonical.fields", {"a": {"constant": []}}, "a.constant: must be a text, a number, or true or false"),
        ("version", 2, "version: must be 1"),
        ("name", 5, "name: must be one text, in quotes"),
        ("routes", [], "routes: must have at least 1 item"),
        ("routes.0.scheme", "md5", "routes.0.scheme: must be 'none', 'token', 'hmac'"),
        ("routes.0.tolerance_s", 0, "routes.0.tolerance_s: must be greater than 0"),
        ("routes.0.tolerance_s", float("inf"), "routes.0.tolerance_s: must be a number, neither inf nor nan"),
        ("routes.0.malformed.0", {"remove": "a", "set": "b"}, "routes.0.malformed.0: give exactly one of remove and"),
        ("routes.0.malformed.0", {}, "routes.0.malformed.0: give exactly one of remove and set"),
        ("routes.0.personal.0.kind", "shoe size", "routes.0.personal.0.kind: must be 'email'"),
        ("launch.processes", 0, "launch.processes: must be greater than or equal to 1"),
        ("launch.command", [], "launch.command: must have at least 1 item"),
        ("launch.command", ["ec\x00ho"], "launch.command.0: 'ec\\x00ho' is not a word of a command"),
        ("launch.env", {"A=B": "c"}, "'A=B' is not the name of an environment variable"),
        ("truth.dsn_env", "postgresql://u:p@h/d", "is not the name of an environment variable"),
        ("truth.canonical.table", "", "truth.canonical.table: '' is not a name that PostgreSQL knows"),
        ("truth.dead", {"table": "t", "tenant": "t", "match": "key"}, "truth.dead: match = 'key' needs column"),
        ("truth.dead.match", "payload-key", "truth.dead: match = 'payload-key' needs path"),
        ("truth.dead.match", "guess", "truth.dead.match: must be 'key'"),
        ("answers.nonsense", {"row": "dead"}, "answers.nonsense"),
        ("answers.malformed", {"row": "bin"}, "answers.malformed.row: must be 'canonical', 'dead' or 'none'"),
        ("answers.malformed", {"row": "dead", "status": []}, "answers.malformed.status: must have at least 1 item"),
        (
            "answers.malformed",
            {"row": "dead", "status": [600]},
            "answers.malformed.status.0: must be less than",
        ),
        # It would be compiled by a sampler only, in the middle of a run.
        ("target.process_match", "(", "target.process_match: '(' is no regular expression: missing ), unterminated"),
        ("target.process_match", "(?\x1b)", r"no regular expression: 'unknown extension ?\x1b at position 1'"),
        ("target.process_match", "a{99999999999}", "no regular expression: the repetition number is too large"),
        ("target.process_match", "(" * 100_000, "no regular expression"),
        ("target.process_match", "", "target.process_match: '' is not a text"),
        ("channels.0.sources", ["fb"], "channels.0.sources: must have at least 2 items"),
        ("truth.quiet_s", 0.05, "truth.quiet_s: must be greater than or equal to 0.1"),
        # What does not fit together.
        ("truth.quiet_s", 30, "truth.quiet_s (30) must be below truth.quiesce_timeout_s (30)"),
        ("truth.quiesce_timeout_s", 0.1, "truth.quiet_s (0.1) must be below truth.quiesce_timeout_s (0.1)"),
        ("tenants.provision_command", ["true"], "tenants: give one of"),
        ("tenants", {"fixed": [{"id": "t", "api_key_env": "K"}] * 2}, "tenants: two fixed tenants have the same id"),
        ("routes.1.name", "stripe", "two routes have the same name"),
        ("launch", ..., "give target.base_url, or a [launch] section"),
        ("target.base_url", "http://127.0.0.1:80", "give target.base_url or"),
        ("truth.canonical.tenant", "idempotency_key", "is both key and tenant: name the column of each"),
        ("truth.schemas", [], "truth.schemas: must have at least 1 item"),
        ("channels.0.sources", ["fb", "fb"], "[[channels]]: the source 'fb' comes twice"),
        ("routes.0.body", '{"id": "<key>"}', "[[channels]] needs <source> in route 'stripe'"),
        ("answers.valid", {"row": "none"}, "answers.valid.row: a right event has its row in truth.canonical"),
        ("answers.forged", {"row": "dead"}, "answers.forged.row: a forged request leaves no row"),
        (
            "storms.rate-limit",
            {"urls": ["http://127.0.0.1:1", "http://127.0.0.1:1/"]},
            "storms.rate-limit: urls: one of them comes twice",
        ),
        ("storms.rate-limit.accepted", [200, 429], "429 stands in accepted and in limited"),
        ("storms.unknown-kid.rejected", [200, 401], "200 stands in accepted and in rejected"),
        ("storms.unknown-kid.promises", {"backoff_base_s": 90}, "backoff_cap_s is the longest wait"),
        ("truth.canonical.channel", ..., "[[channels]] needs truth.canonical.channel: name the column"),
        # A name that nobody knows would have no effect.
        ("faults", {"allow": ["table-locked", "tabel-locked"]}, "faults: allow: 'tabel-locked' is no fault; known are"),
        ("faults", {"allow": ["mine"]}, "database-half-open"),
        ("faults", {"deploy": {"command": ["true"], "undo": ["true"]}}, "'deploy' is a fault of the rig's"),
        ("scenarios", {"only": ["S11"]}, "scenarios.only.0: 'S11' is not a scenario; known are S1 to S10"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, path: str, value: Any, says: str) -> None:
    message = refusal(tmp_path, changed(path, value))
    assert says in message


def test_faults_that_a_profile_may_allow_are_those_that_there_are() -> None:
    own = {"pod-deleted": {"command": ["true"], "undo": ["true"]}}
    assert tuple(fault.name for fault in BUILT_IN) == FAULTS
    allowed = Profile.model_validate(changed("faults", {**own, "allow": [*FAULTS, "pod-deleted"]})).faults.allow
    assert allowed == (*FAULTS, "pod-deleted")


def test_a_wrong_item_is_not_called_a_missing_one_too(tmp_path: Path) -> None:
    assert refusal(tmp_path, changed("routes.0.body", 5)).splitlines()[1:] == [
        "  routes.0.body: must be one text, in quotes"
    ]


def test_a_byte_order_mark_is_no_part_of_a_profile(tmp_path: Path) -> None:
    file = tmp_path / "marked.toml"
    file.write_text(bundled_profile().read_text("utf-8"), "utf-8-sig")
    assert load_profile(file).digest() == load_profile(bundled_profile()).digest()


def test_a_header_of_a_preset_is_replaced_whatever_its_case() -> None:
    route = WebhookRoute(name="main", path="/", sender="github", headers={"x-github-event": "ping"})  # type: ignore[call-arg]
    assert route.headers == {"x-github-event": "ping", "X-GitHub-Delivery": "<key>", "X-GitHub-Hook-ID": "1"}


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("a.b", ("a.b",)),
        ("data.c.d", ("data", "c.d")),
        ("data.c.d.1.e", ("data", "c.d", "1", "e")),
        ("data.c.none", ("data", "c", "none")),
        ("list.7", ("list", "7")),
        ("new.place", ("new", "place")),
    ],
)
def test_a_name_in_a_path_may_have_dots(path: str, steps: tuple[str, ...]) -> None:
    document = {"a.b": 1, "a": {"b": 2}, "data": {"c": {"d": 3}, "c.d": [0, {"e": 5}]}, "list": [1]}
    assert steps_of(document, path) == steps


def test_all_problems_are_named_up_to_ten(tmp_path: Path) -> None:
    document = changed("name", 1, changed("headers.tenant_key", 2))
    assert len(refusal(tmp_path, document).splitlines()) == 3
    many = {**REFERENCE, **{f"unknown_{number}": 1 for number in range(12)}}
    lines = refusal(tmp_path, many).splitlines()
    assert (len(lines), lines[-1]) == (12, "  … and 2 more")


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080",
        "ftp://127.0.0.1",
        "http://",
        "http:///path",
        "http://127.0.0.1:0",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:eighty",
        "http://[::1",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nX: y",
        "http://127.0.0.1/ä",
        "http://127.0.0.1/?q=1",
        "http://127.0.0.1/#top",
        "",
    ],
)
def test_bad_base_urls(tmp_path: Path, url: str) -> None:
    assert "  target.base_url: it must look like " in refusal(
        tmp_path, changed("target.base_url", url, changed("launch", ...))
    )


def test_a_password_in_a_base_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    document = changed("target.base_url", "http://u:hunter2@127.0.0.1", changed("launch", ...))
    assert "hunter2" not in refusal(tmp_path, document)


@pytest.mark.parametrize("url", ["http://127.0.0.1", "https://[::1]:8443/base", "http://localhost:8080/a/b/"])
def test_good_base_urls(url: str) -> None:
    assert Profile.model_validate(changed("target.base_url", url, changed("launch", ...))).target.base_url == url


# --- injection ---

HEADER_NAMES = (
    "headers.tenant_key", "headers.idempotency_key", "headers.correlation_id", "routes.0.signature_header",
)  # fmt: skip
ON_THE_WIRE = (
    *HEADER_NAMES,
    "routes.0.path",
    "routes.0.content_type",
    "routes.0.headers.X-Topic",
    "routes.2.signature",
    "probes.ready",
)


@pytest.mark.parametrize("path", ON_THE_WIRE)
@pytest.mark.parametrize(
    "value", ["/x\r\nX-Injected: 1", "/x\n", "\n/x", "/x y\r", "/x\x00", "/x\x85", "/x\u2028", "/ä", "", "/x\x7f", "\t"]
)
def test_no_line_ends_on_the_wire(tmp_path: Path, path: str, value: str) -> None:
    assert f"  {path}: " in refusal(tmp_path, changed(path, value))


@pytest.mark.parametrize("path", HEADER_NAMES)
@pytest.mark.parametrize(
    "value", ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "Content-Type", "Expect"]
)
def test_headers_of_the_request_itself_cannot_be_named(tmp_path: Path, path: str, value: str) -> None:
    assert f"  {path}: {value!r} is a header that the rig writes itself" in refusal(tmp_path, changed(path, value))


@pytest.mark.parametrize("path", HEADER_NAMES[1:])
def test_one_header_cannot_mean_two_things(tmp_path: Path, path: str) -> None:
    assert "two of its headers" in refusal(tmp_path, changed(path, "x-TENANT-key"))


def test_a_header_that_the_profile_names_is_not_the_presets(tmp_path: Path) -> None:
    """Shopify names the shop in a header: the tenant's key goes there, and not the preset's domain."""
    given = changed("headers.tenant_key", "x-shopify-shop-domain")
    given["headers"]["idempotency_key"] = "X-Shopify-Webhook-Id"
    del given["channels"]
    given["routes"] = [{"name": "orders", "path": "/orders", "sender": "shopify", "secret": "main"}]
    (route,) = Profile.model_validate(given).routes
    assert list(route.headers) == ["X-Shopify-Topic", "X-Shopify-Event-Id"]
    given["routes"][0]["headers"] = {"X-Shopify-Shop-Domain": "shop.example.test"}
    with pytest.raises(ValueError, match="two of its headers"):
        Profile.model_validate(given)


@pytest.mark.parametrize("path", ["X Key", "X:Key", "X-Key:", "(X)", "X\tKey"])
def test_a_header_is_a_token(tmp_path: Path, path: str) -> None:
    assert "is not the name of a header" in refusal(tmp_path, changed("headers.tenant_key", path))


@given(
    path=st.sampled_from([*ON_THE_WIRE[:-1], "target.base_url", "default_source", "routes.0.secret", "routes.0.name"]),
    value=st.text(max_size=20) | st.text(alphabet='/aX: \r\n\t\x00"\\%{}', max_size=12),
)
def test_whatever_a_profile_holds_a_request_is_one_request(path: str, value: str) -> None:
    """Either the profile is refused, or the request's bytes still have the head that they must have."""
    document = changed("launch", ..., REFERENCE) if path.startswith("target") else REFERENCE
    try:
        profile = Profile.model_validate(changed(path, value, document))
    except ValueError:
        return
    route = profile.routes[0]
    scenario = Scenario("S2", "t", 1, route.name, ("A",), (Share(RequestClass.VALID, 1),), Pace(1))
    targets = Targeter(profile, RunKey(1, "r", 1_800_000_000), Address("h:1")).bind(
        scenario, {"A": Credentials("api-key", {each.secret: "s" for each in profile.routes})}
    )
    head, _, body = targets.request(0, 1_800_000_000).partition(b"\r\n\r\n")
    request_line, *lines = head.split(b"\r\n")
    assert re.fullmatch(rb"POST /[\x21-\x7e]* HTTP/1\.1", request_line)
    assert len(lines) == 7 + ("X-Topic" in path)
    fields = dict(line.split(b": ", 1) for line in lines)
    assert fields[b"Host"] == b"h:1"
    assert fields[b"Content-Length"] == b"%d" % len(body)
    assert len(fields) == len(lines)
    assert b"\n" not in head.replace(b"\r\n", b"")


# --- keys that were renamed ---


class Race(Section):
    """A section with a renamed key."""

    wait_timeout_s: Annotated[float, OldName("patience_s")] = Field(default=1, gt=0)
    """How long one waits."""


def test_a_renamed_key_is_accepted_by_its_old_name_too() -> None:
    assert Race.model_validate({"patience_s": 3}) == Race.model_validate({"wait_timeout_s": 3})
    with pytest.raises(ValueError, match="greater than 0"):
        Race.model_validate({"patience_s": 0})


def test_both_names_of_a_renamed_key_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="patience_s is the old name of wait_timeout_s; give wait_timeout_s alone"):
        Race.model_validate({"patience_s": 3, "wait_timeout_s": 3})


def test_the_reference_page_names_the_old_name() -> None:
    assert "`wait_timeout_s` | number. How long one waits. Old name, still accepted: `patience_s`." in _section(
        "", Race
    )
