"""The service under test: launched, waited for, stopped; and every way in which that goes wrong, in words."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import textwrap
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from rig.errors import ConfigError, EvidenceError, Unavailable, UsageError
from rig.machine.child import free_port
from rig.profile import Profile, bundled_profile, load_profile
from rig.profile.variables import SECRET_WORDS, fill_in, words_of_dsns
from rig.settings import Settings
from rig.target.endpoint import Endpoint
from rig.target.launch import LiveTarget, open_target, require_free_port
from rig.target.store import Store

STORE = Store("postgresql://truth", "postgresql://runtime", {})

SERVER = """
import http.server, os, signal, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status})
        self.end_headers()
        self.wfile.write(b"no tables")

    def log_message(self, *words):
        pass

{prelude}
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(status: int = 200, prelude: str = "") -> list[str]:
    """A command that serves one answer to everything."""
    return [sys.executable, "-c", SERVER.format(status=status, prelude=prelude).replace("{", "{{").replace("}", "}}")]


def script(code: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code)]


def launched(command: list[str], *, probes: Mapping[str, str] | None = None, **launch: Any) -> Profile:
    """The reference profile with another command to launch."""
    document = load_profile(bundled_profile()).model_dump(mode="json", exclude_unset=True)
    document["launch"] = {"command": [*command, "{port}"], "ready_timeout_s": 20, "stop_timeout_s": 5, **launch}
    document["probes"] = {"ready": "/ready"} if probes is None else dict(probes)
    return Profile.model_validate(document)


def opened(
    profile: Profile, logs: Path, *, environ: Mapping[str, str] | None = None, **settings: Any
) -> AbstractContextManager[LiveTarget]:
    return open_target(profile, Path("/profiles"), STORE, logs, environ or {}, Settings(**settings))


def refused(profile: Profile, logs: Path, kind: type[Exception] = Unavailable, **settings: Any) -> str:
    with pytest.raises(kind) as caught, opened(profile, logs, **settings):
        pass
    return str(caught.value)


# --- what goes well ---


def test_a_launched_target_is_ready_and_then_gone(tmp_path: Path) -> None:
    with opened(launched(server()), tmp_path) as target:
        assert target.pid is not None
        assert psutil.pid_exists(target.pid)
        assert target.endpoint.host == "127.0.0.1"
        assert target.log_files == (tmp_path / "target.log",)
        socket.create_connection((target.endpoint.host, target.endpoint.port)).close()
    assert not psutil.pid_exists(target.pid)
    assert "listening" in (tmp_path / "target.log").read_text()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((target.endpoint.host, target.endpoint.port))


def test_it_gets_the_port_that_was_asked_for(tmp_path: Path) -> None:
    port = free_port()
    with opened(launched(server()), tmp_path, port=port) as target:
        assert target.endpoint == Endpoint("127.0.0.1", port)


def test_without_probes_a_connection_is_enough(tmp_path: Path) -> None:
    with opened(launched(server(500), probes={}), tmp_path) as target:
        assert target.pid is not None


def test_words_and_defects_reach_the_command_and_secrets_only_its_environment(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    prelude = f"""
        import json, pathlib
        words = {{"argv": sys.argv[1:], "dsns": [os.environ["ADMIN"], os.environ["RUNTIME"]]}}
        pathlib.Path({str(seen)!r}).write_text(json.dumps(words | {{"kept": os.environ["KEPT"]}}))
    """
    command = server(prelude=textwrap.dedent(prelude))
    profile = launched(
        [*command, "{port}", "{profile_dir}", "{processes}", "{python}", "{{literal}}"],
        processes=3,
        env={"ADMIN": "{admin_dsn}", "RUNTIME": "{runtime_dsn}"},
    )
    port = free_port()
    with opened(profile, tmp_path, environ={"KEPT": "yes"}, port=port, defects=("slow", "odd")) as target:
        assert target.pid is not None
        line = " ".join(psutil.Process(target.pid).cmdline())
    assert "postgresql://" not in line
    words = json.loads(seen.read_text())
    expected = [str(port), "/profiles", "3", sys.executable, "{literal}", str(port)]
    assert words["argv"] == [*expected, "--defect", "slow", "--defect", "odd"]
    assert (words["dsns"], words["kept"]) == (["postgresql://truth", "postgresql://runtime"], "yes")


def test_migrate_runs_first_and_once(tmp_path: Path) -> None:
    mark = tmp_path / "migrated"
    migrate = script(f"open({str(mark)!r}, 'a').write('x')")
    command = server(prelude=f"assert open({str(mark)!r}).read() == 'x'")
    with opened(launched(command, migrate=migrate), tmp_path):
        assert mark.read_text() == "x"


def test_a_running_target_is_left_running(tmp_path: Path) -> None:
    with opened(launched(server()), tmp_path) as running:
        document = load_profile(bundled_profile()).model_dump(mode="json", exclude_unset=True)
        del document["launch"]
        document["target"] = {"base_url": running.endpoint.url, "log_files": ["service.log"]}
        document["probes"] = {"health": "/up"}
        with opened(Profile.model_validate(document), tmp_path) as target:
            assert (target.pid, target.endpoint, target.log_files) == (None, running.endpoint, (Path("service.log"),))
        socket.create_connection((running.endpoint.host, running.endpoint.port)).close()


# --- stopping ---


def test_what_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    children = tmp_path / "child"
    prelude = f"""
        import subprocess
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        open({str(children)!r}, "w").write(str(child.pid))
    """
    profile = launched(server(prelude=textwrap.dedent(prelude)), stop_timeout_s=0.2)
    with opened(profile, tmp_path) as target:
        assert target.pid is not None
        leader, child = psutil.Process(target.pid), psutil.Process(int(children.read_text()))
    assert not leader.is_running()
    child.wait(10)  # it was killed with the session; init takes it


def test_what_is_stopped_is_woken_to_be_ended(tmp_path: Path) -> None:
    with opened(launched(server()), tmp_path) as target:
        assert target.pid is not None
        os.kill(target.pid, signal.SIGSTOP)
    assert not psutil.pid_exists(target.pid)


def test_what_ended_by_itself_needs_no_stop(tmp_path: Path) -> None:
    with opened(launched(server()), tmp_path) as target:
        assert target.pid is not None
        os.kill(target.pid, signal.SIGKILL)
    assert not psutil.pid_exists(target.pid)


def test_an_error_in_between_stops_it_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), opened(launched(server()), tmp_path) as target:
        raise KeyboardInterrupt
    assert target.pid is not None
    assert not psutil.pid_exists(target.pid)


# --- what goes wrong ---


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    message = refused(launched(["./no-such-service"]), tmp_path, ConfigError)
    assert message.startswith("launch.command could not be run: ")
    assert "no-such-service" in message


def test_a_log_that_cannot_be_written_is_no_fault_of_the_rig(tmp_path: Path) -> None:
    """As on a full disk of the results: whoever sees it is the first to open a file there."""
    message = refused(launched(server()), tmp_path / "gone", EvidenceError)
    assert f"the target's log {tmp_path / 'gone' / 'target.log'} cannot be written: " in message


def test_what_ends_at_once_is_quoted(tmp_path: Path) -> None:
    failing = script("import sys; print('starting', flush=True); sys.exit('the port is taken')")
    message = refused(launched(failing), tmp_path)
    assert message == "the target, before it was ready, ended with exit code 1: starting | the port is taken"


def test_what_ends_without_a_word_is_told_so(tmp_path: Path) -> None:
    message = refused(launched(script("raise SystemExit(7)")), tmp_path)
    assert message == "the target, before it was ready, ended with exit code 7: it said nothing"


def test_what_never_gets_ready_says_what_it_answers_and_is_stopped(tmp_path: Path) -> None:
    before = psutil.Process().children()
    message = refused(launched(server(503), ready_timeout_s=0.5), tmp_path)
    assert "is not ready within 0.5 s: " in message
    assert "its log ends with: " in message
    assert set(psutil.Process().children()) <= set(before)


def test_the_last_answer_of_an_unready_target_is_quoted(tmp_path: Path) -> None:
    with opened(launched(server(503), probes={}), tmp_path) as running:  # without probes, listening is enough
        document = load_profile(bundled_profile()).model_dump(mode="json", exclude_unset=True)
        del document["launch"]
        document["target"] = {"base_url": running.endpoint.url}
        message = refused(Profile.model_validate(document), tmp_path)
    url = running.endpoint.url
    assert message.startswith(
        f"the target at {url} is not ready within 2 s: /health/ready answers 503 no tables; is it"
    )


def test_a_target_that_does_not_run(tmp_path: Path) -> None:
    document = load_profile(bundled_profile()).model_dump(mode="json", exclude_unset=True)
    del document["launch"]
    document["target"] = {"base_url": f"http://127.0.0.1:{free_port()}"}
    message = refused(Profile.model_validate(document), tmp_path)
    assert "refused" in message
    assert message.endswith("start it, or mend target.base_url")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("{portt}", "has the unknown word 'portt'; known are {python}, {profile_dir}, {port}, {processes}"),
        # A DSN on a command line could be read by everybody.
        ("{admin_dsn}", "give the DSN by a variable of [launch.env]"),
        ("{", "cannot be filled in (Single '{' encountered"),
        ("{}", "has the unknown word"),
        ("{port.real}", "has the unknown word"),
    ],
)
@pytest.mark.parametrize("key", ["command", "migrate"])
def test_a_template_that_cannot_be_filled_in(tmp_path: Path, key: str, word: str, says: str) -> None:
    profile = launched(server(), migrate=[word]) if key == "migrate" else launched([*server(), word])
    message = refused(profile, tmp_path, ConfigError)
    assert message.startswith(f"profile key launch.{key}: {word!r} ")
    assert says in message


def test_a_driver_that_takes_no_dsn_gets_its_parts() -> None:
    words = words_of_dsns("postgresql://own%40er:p%2Fw@127.0.0.1:5/shop", "host=/run user=app")
    text = "jdbc:postgresql://{admin_host}:{admin_port}/{admin_database}?user={admin_user}&password={admin_password}"
    assert fill_in(text, words, "launch.env") == "jdbc:postgresql://127.0.0.1:5/shop?user=own@er&password=p/w"
    assert fill_in("{runtime_host} {runtime_user} {runtime_port}|{runtime_dsn}", words, "launch.env") == (
        "/run app |host=/run user=app"
    )
    assert set(words) == set(SECRET_WORDS)


def test_an_unknown_word_in_the_environment_shows_no_secret(tmp_path: Path) -> None:
    message = refused(launched(server(), env={"DSN": "{admin_dns}"}), tmp_path, ConfigError)
    assert "profile key launch.env: '{admin_dns}' has the unknown word 'admin_dns'" in message
    assert "{admin_dsn}" in message
    assert "postgresql://" not in message


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('no rights')", "launch.migrate ended with exit code 1: no rights"),
        ("print('a\\nb\\nc\\nd'); raise SystemExit(3)", "launch.migrate ended with exit code 3: b | c | d"),
        ("raise SystemExit(4)", "launch.migrate ended with exit code 4: it said nothing"),
        ("import os; os.write(2, b'\\xff'); os._exit(5)", "launch.migrate ended with exit code 5"),
        ("input()", "EOFError"),
    ],
)
def test_a_migrate_that_fails_starts_nothing(tmp_path: Path, code: str, says: str) -> None:
    assert says in refused(launched(server(), migrate=script(code)), tmp_path)
    assert not (tmp_path / "target.log").exists()


@pytest.mark.parametrize("key", ["command", "migrate"])
def test_a_defect_that_the_target_does_not_take_is_a_wrong_option(tmp_path: Path, key: str) -> None:
    refusing = script("import sys; sys.exit(64 if '--defect' in sys.argv else 0)")
    profile = launched(refusing) if key == "command" else launched(server(), migrate=refusing)
    assert "the target does not take --defect odd" in refused(profile, tmp_path, UsageError, defects=("odd",))


def test_a_migrate_that_is_not_there(tmp_path: Path) -> None:
    message = refused(launched(server(), migrate=["./no-migrate"]), tmp_path, ConfigError)
    assert "launch.migrate could not be run" in message


def test_a_port_that_is_taken_is_not_taken_for_the_target(tmp_path: Path) -> None:
    """Whoever listens there may well answer 200: it must not be loaded in the target's place."""
    with opened(launched(server()), tmp_path) as other:
        port = other.endpoint.port
        message = refused(launched(server()), tmp_path, port=port)
        with pytest.raises(Unavailable, match=f"port {port} cannot be used for the target"):
            require_free_port(port)
    assert f"port {port} cannot be used for the target: " in message
    require_free_port(0)


@pytest.mark.parametrize(
    "text",
    ["{port:>9999999999}", "{port.__class__}", "{port!r}", "{port[0]}", "{}", "{0}", "{nothing}", "{", "}", "{port"],
)
def test_a_brace_is_a_word_and_no_more(text: str) -> None:
    """A width would take all memory, and an attribute would be filled in with what nobody meant."""
    with pytest.raises(ConfigError, match=r"profile key launch\.command: ") as refused:
        fill_in(f"--port={text}", {"port": "8080"}, "launch.command")
    assert "8080" not in str(refused.value)


def test_a_brace_that_is_written_twice_is_one() -> None:
    assert fill_in("{{port}} %s {port}é", {"port": "{8080}"}, "launch.command") == "{port} %s {8080}é"
