"""`rig init`: questions, a profile that loads, and every answer that cannot be one."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from rig.errors import ConfigError, ExitCode, UsageError
from rig.init.draft import draft
from rig.init.questions import QUESTIONS, ask_all
from rig.model import RequestClass, Row
from rig.profile import Profile, load_profile
from rig.requests.body import SLOTS, compile_bodies
from tests.cli.commands import command, environment, rig

EVENT = {
    "order": {"no": "A-1", "total": 12.5, "at": "2027-01-01T00:00:00Z", "note": "it's ''' & <3"},
    "lines": [{"id": 7}],
}


def drafted(tmp_path: Path, **given: str) -> Profile:
    """The profile that follows from these answers (underscores for dashes) and the defaults of all others."""
    options = {name.replace("_", "-"): answer for name, answer in given.items()}
    assert options.keys() <= {question.name for question in QUESTIONS}
    answers = ask_all(lambda question, so_far: options.get(question.name, question.default_after(so_far)))
    path = tmp_path / "profile.toml"
    path.write_text(draft(answers, path))
    return load_profile(path)


def test_the_defaults_give_a_profile_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    ended = rig("init", str(path), "--yes")
    assert ended.code == ExitCode.PASS, ended.err
    assert f"rig doctor --profile {path}" in ended.err
    profile = load_profile(path)
    assert profile.tenants.fixed == ()
    assert profile.truth.dead is None
    assert '"id": "<key>"' in profile.routes[0].body
    assert profile.routes[0].secret_env == "WEBHOOK_SECRET"
    assert path.read_text().count("\n# ") > 10


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("precious")
    ended = rig("init", str(path), "--yes")
    assert ended.code == ExitCode.USAGE
    assert f"{path} exists already" in ended.err
    assert path.read_text() == "precious"


def test_without_a_terminal_nothing_is_asked(tmp_path: Path) -> None:
    done = subprocess.run(
        command("init", str(tmp_path / "mine.toml")), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env=environment({}), timeout=60,
    )  # fmt: skip
    assert done.returncode == ExitCode.USAGE
    assert "--yes" in done.stderr


def test_in_a_terminal_what_is_not_given_is_asked(tmp_path: Path) -> None:
    """Enter takes the default; an answer that cannot be is asked for again."""
    path = tmp_path / "mine.toml"
    given = [word for question in QUESTIONS if question.name not in ("name", "secret-env", "dead-path")
             for word in (f"--{question.name}", question.default)]  # fmt: skip
    terminal, end = pty.openpty()
    with subprocess.Popen(
        command("init", str(path), *given), stdin=end, stdout=end, stderr=end, env=environment({}), close_fds=True
    ) as process:
        os.close(end)
        os.write(terminal, b"till\n$3cret!\nTILL_SECRET\n")
        assert process.wait(60) == ExitCode.PASS
    os.close(terminal)
    profile = load_profile(path)
    assert profile.name == "till"
    assert profile.routes[0].secret_env == "TILL_SECRET"
    assert "$3cret!" not in path.read_text()


def test_the_users_own_event_becomes_the_body(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(EVENT))
    profile = drafted(
        tmp_path, event=str(file), event_id="order.no", event_amount="order.total", event_time="order.at",
        personal_at="lines.0.customer.email", idempotency_header="Key",
    )  # fmt: skip
    bodies = compile_bodies(profile.routes[0])
    given = {"event": b"e1", "decimal": b"0.99", "iso": b"2027-02-02T00:00:00Z", "canary-email": b"x@y.z"}
    values = [given.get(slot) for slot in SLOTS]
    assert json.loads(bodies.valid.render(values)) == {
        "order": {"no": "A-e1", "total": 0.99, "at": "2027-02-02T00:00:00Z", "note": EVENT["order"]["note"]},
        "lines": [{"id": 7}],
    }
    assert len(bodies.malformed) == 2
    assert json.loads(bodies.personal[0].render(values))["lines"][0]["customer"] == {"email": "x@y.z"}


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text('{"rows": [{"id": 7, "cents": 100}], "at": 1700000000}')
    profile = drafted(
        tmp_path, event=str(file), event_id="rows.0.id", event_amount="rows.0.cents", event_time="at",
        idempotency_header="Key",
    )  # fmt: skip
    given = {"number": 5, "amount": 600, "unix": 1_800_000_000}
    body = compile_bodies(profile.routes[0]).valid.render([given.get(slot) for slot in SLOTS])
    assert json.loads(body) == {"rows": [{"id": 5, "cents": 600}], "at": 1_800_000_000}


def test_answers_reach_their_keys(tmp_path: Path) -> None:
    profile = drafted(
        tmp_path, name="till", base_url="https://till.example/in", ready="/up", process_match='till "serve"',
        scheme="hmac-sha256-base64", signature_prefix="v1,", tenant_prefix="Token ",
        provision_sql="INSERT INTO shops\nVALUES (%(tenant_id)s) RETURNING \"no\"", stored_status="202",
        duplicate_status="200,409", malformed_status="422",
        dead_table="letters", correlation_header="Trace", tenant_header="Authorization", schemas="till, audit",
        dead_match="payload-key", dead_column="headers", dead_path="delivery", canonical_correlation="trace",
        personal_at="who.email",
    )  # fmt: skip
    assert profile.headers.tenant_key_prefix == "Token "
    assert profile.tenants.provision_sql == 'INSERT INTO shops\nVALUES (%(tenant_id)s) RETURNING "no"'
    assert profile.routes[0].secret_env is None
    assert profile.routes[0].signature_prefix == "v1,"
    assert profile.answer(RequestClass.REPLAY, profile.routes[0].name).status == (202, 200, 409)
    assert profile.answer(RequestClass.PERSONAL, profile.routes[0].name).row is Row.DEAD
    assert profile.truth.schemas == ("till", "audit")
    assert profile.truth.dead.path == "delivery"
    assert profile.target.process_match == 'till "serve"'


@pytest.mark.parametrize(
    ("option", "answer", "says"),
    [
        ("secret-env", "whsec_5up3r", "give the NAME of an environment variable"),
        ("truth-dsn-env", "postgresql://me:pw@db/x", "give the NAME of an environment variable"),
        ("stored-status", "yes", "give an HTTP status"),
        ("scheme", "rot13", "give one of none, token, hmac"),
        ("route", "", "an answer is needed, like /webhooks/orders"),
        ("event-id", "no.such", "the event has no 'no' there"),
        ("event", "/nowhere/event.json", "cannot be read"),
    ],
)
def test_an_answer_that_cannot_be_one(tmp_path: Path, option: str, answer: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"--{option}.*{says}") as caught:
        drafted(tmp_path, **{option.replace("-", "_"): answer})
    if option.endswith("-env"):
        assert answer not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "[]", "7", '{"id": ', "\0", "[" * 100_000, '{"id": 1e400}', '{"id": NaN}', '{"id": "a", "id": "b"}']
)
def test_an_event_that_is_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "event.json"
    file.write_text(content)
    with pytest.raises(UsageError, match="--event "):
        drafted(tmp_path, event=str(file))


@pytest.mark.parametrize("name", [question.name for question in QUESTIONS])
def test_no_answer_breaks_out_of_its_place(tmp_path: Path, name: str) -> None:
    """Quotes, line ends, template and TOML syntax: refused, or in the profile as one text."""
    hostile = "x\"'''\n[launch]\ncommand = ['sh'] {{ 7 * 7 }} {% raw %}\x7f"
    try:
        profile = drafted(tmp_path, **{name.replace("-", "_"): hostile})
    except (UsageError, ConfigError):
        return
    assert profile.launch is None
    assert "49" not in profile.model_dump_json()
