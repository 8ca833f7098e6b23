"""The service under test: one that is running already, or one that the rig launches as its profile says.

Flow: ``open_target`` gives a ``Target`` once it answers, and ends what it started. Output of a launched service goes to
a log file of the pack. Not for tenants (``rig.target.tenants``) or its database (``rig.target.postgres``).
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from rig.errors import ConfigError, EvidenceError, ExitCode, RigError, Unavailable, UsageError
from rig.machine import libpq
from rig.machine.child import end, free_port, run_to_end, start, wait_until
from rig.machine.files import read_end
from rig.machine.sockets import find_listeners
from rig.machine.supervisor import current_supervisor
from rig.profile import Launch, Profile
from rig.profile.variables import fill_in, words_of_dsns
from rig.settings import Settings
from rig.target.endpoint import Endpoint, TlsFiles
from rig.target.http_probe import HttpProbe
from rig.target.store import Store
from rig.text import last_lines

LOG = "target.log"
"""The log of a launched service, among the logs of a pack."""

FORWARDERS = frozenset(
    (
        *("caddy", "envoy", "haproxy", "nginx", "stunnel", "stunnel4", "traefik", "varnishd"),
        *("conmon", "docker-proxy", "pasta", "pasta.avx2", "passt", "passt.avx2", "rootlesskit", "rootlessport"),
        *("kubectl", "slirp4netns", "socat", "ssh", "sshd"),
    )
)
"""Programs that listen for a service and pass its requests on to it."""

_PROBE_TIMEOUT_S = 2.0


class LaunchedService:
    """A service that the rig has started: it can be stopped and started again, at the same port.

    ``wait`` returns once the process that it is given answers. RigError where it does not.
    """

    def __init__(
        self, command: Sequence[str], launch: Launch, log: int, wait: Callable[[subprocess.Popen[bytes]], None]
    ) -> None:
        self._command, self._launch, self._log, self._wait = command, launch, log, wait
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that the launch command became."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether that process does not run."""
        return self._process is None or self._process.poll() is not None

    def start(self, env: Mapping[str, str]) -> None:
        """Start it with this environment, and wait until it answers. ConfigError where it cannot be run."""
        try:
            self._process = start(self._command, output=self._log, env=dict(env))
        except OSError as error:
            raise ConfigError(f"launch.command could not be run: {error}") from None
        if (supervisor := current_supervisor()) is not None:  # a target that rewrites its title loses the marker
            supervisor.stop_at_end(self._process.pid)
        self._wait(self._process)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after the profile's time; then all that is in its session."""
        if self._process is not None:
            end(self._process, self._launch.stop_timeout_s, session=True)


@dataclass(frozen=True, slots=True)
class LiveTarget:
    """A service that answers. ``service`` is None where the rig did not start it.

    Of such a service ``listeners`` are the processes of this machine that accept its connections, where that is known.
    """

    endpoint: Endpoint
    service: LaunchedService | None = None
    log_files: tuple[Path, ...] = ()
    listeners: tuple[int, ...] = ()

    @property
    def pid(self) -> int | None:
        """Of the process that the rig has started."""
        return self.service.pid if self.service is not None else None


@contextmanager
def open_target(
    profile: Profile,
    profile_dir: Path,
    store: Store,
    logs: Path,
    environ: Mapping[str, str],
    settings: Settings,
    *,
    is_migrated: bool = False,
) -> Iterator[LiveTarget]:
    """The service of a profile, ready for requests; Unavailable when it does not become ready in time.

    ConfigError where the target may not be loaded. The endpoint of a service that runs already is pinned to the
    addresses that were checked.

    Seeded defects are passed to a launched service as ``--defect NAME``, which the reference service understands. A
    service that does not know one exits with 64; that is a UsageError.
    """
    settings.require_seedable(profile.launch is not None)
    if profile.launch is None:
        endpoint = reach(profile, settings)
        _wait_until_ready(profile, endpoint, None, _PROBE_TIMEOUT_S, Path())
        yield LiveTarget(endpoint, None, profile.target.log_files, find_servers(endpoint))
        return
    launch = profile.launch
    require_free_port(settings.port)  # else another process that listens there would be taken for the target
    if not is_migrated:
        migrate(profile, profile_dir, store, environ, settings)
    endpoint = Endpoint("127.0.0.1", settings.port or free_port())
    words, env = _words_and_environment(launch, profile_dir, store, environ, endpoint.port)
    command = [*_command(launch.command, words, "launch.command"), *_defect_words(settings)]
    log_file = logs / LOG

    def wait(process: subprocess.Popen[bytes]) -> None:
        _wait_until_ready(profile, endpoint, process, launch.ready_timeout_s, log_file, settings.defects)

    with _open_log(log_file) as log:
        service = LaunchedService(command, launch, log.fileno(), wait)
        try:
            service.start(env)
            yield LiveTarget(endpoint, service, (log_file, *profile.target.log_files))
        finally:
            service.stop()


def launch_environment(
    profile: Profile, profile_dir: Path, store: Store, environ: Mapping[str, str], port: int
) -> dict[str, str]:
    """The environment of a launched service; ``store`` says which database it is given."""
    assert profile.launch is not None
    return _words_and_environment(profile.launch, profile_dir, store, environ, port)[1]


def migrate(profile: Profile, profile_dir: Path, store: Store, environ: Mapping[str, str], settings: Settings) -> None:
    """Prepare the database as the profile says, where it does. Raises as ``open_target``."""
    launch = profile.launch
    if launch is None or launch.migrate is None:
        return
    words, env = _words_and_environment(launch, profile_dir, store, environ, settings.port)
    command = [*_command(launch.migrate, words, "launch.migrate"), *_defect_words(settings)]
    _migrate(command, env, settings.defects, launch.migrate_timeout_s)


def _words_and_environment(
    launch: Launch, profile_dir: Path, store: Store, environ: Mapping[str, str], port: int
) -> tuple[dict[str, str], dict[str, str]]:
    """What the placeholders of the commands mean, and the environment of both programs."""
    words = {
        "python": sys.executable,
        "profile_dir": str(profile_dir),
        "port": str(port),
        "processes": str(launch.processes),
    }
    secret_words = words | words_of_dsns(store.truth_dsn, store.runtime_dsn or "")
    own = {name: fill_in(value, secret_words, "launch.env") for name, value in launch.env.items()}
    given = environ if store.lasting else libpq.without(environ, is_plain=store.control is not None)
    return words, {**given, **own}


def _defect_words(settings: Settings) -> list[str]:
    return [word for defect in settings.defects for word in ("--defect", defect)]


def reach(profile: Profile, settings: Settings) -> Endpoint:
    """The endpoint of a service that runs already, pinned, after one connection to it.

    ConfigError where it may not be loaded or its certificate is not trusted, Unavailable where nobody listens.
    """
    endpoint = Endpoint.parse(profile.target.base_url or "", TlsFiles.of(profile.target))
    endpoint = endpoint.check_and_pin(settings.allowed_host(profile.target.allow_host))
    response = HttpProbe(endpoint, _PROBE_TIMEOUT_S).connect()
    if response.untrusted:
        raise ConfigError(f"target.base_url {endpoint.url}: {response.problem}")
    if response.status != 200:
        raise Unavailable(f"nobody listens at {endpoint.url}: {response.problem}; start it, or mend target.base_url")
    return endpoint


def find_servers(endpoint: Endpoint) -> tuple[int, ...]:
    """The processes of this machine that answer at an endpoint; empty where it cannot be told.

    It cannot where the endpoint is another machine's or another user's, and where a program listens that passes the
    requests on: the service is behind it.
    """
    with suppress(psutil.Error):
        pids = find_listeners(endpoint.addresses, endpoint.port)
        if not any(psutil.Process(pid).name() in FORWARDERS for pid in pids):
            return tuple(pids)
    return ()


def require_free_port(port: int) -> None:
    """Unavailable when another process listens on that port of loopback; nothing is checked for port 0."""
    if not port:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Unavailable(
                f"port {port} cannot be used for the target: {error.strerror}; stop the process that listens there, "
                "or give another --port"
            ) from None


def _command(template: Sequence[str], words: Mapping[str, str], key: str) -> list[str]:
    return [fill_in(word, words, key) for word in template]


def _explain_end(what: str, exit_code: int, said: str, defects: Sequence[str]) -> RigError:
    """The error for ``what`` (the target or its migration) that ended too early."""
    if defects and exit_code == ExitCode.USAGE:
        return UsageError(f"the target does not take --defect {' --defect '.join(defects)}: {said}")
    return Unavailable(f"{what} ended with exit code {exit_code}: {said}")


def _migrate(command: Sequence[str], env: Mapping[str, str], defects: Sequence[str], timeout_s: float) -> None:
    try:
        done = run_to_end(command, timeout_s, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        raise ConfigError(f"launch.migrate could not be run: {error}") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"launch.migrate has not ended within {timeout_s:g} s; raise launch.migrate_timeout_s"
        ) from None
    if done.returncode != 0:
        said = last_lines(done.stdout, 3)
        raise _explain_end("launch.migrate", done.returncode, said, defects)


def _open_log(log_file: Path) -> IO[bytes]:
    try:
        return log_file.open("ab")
    except OSError as error:
        raise EvidenceError(f"the target's log {log_file} cannot be written: {error}") from None


def _wait_until_ready(
    profile: Profile,
    endpoint: Endpoint,
    process: subprocess.Popen[bytes] | None,
    timeout_s: float,
    log_file: Path,
    defects: Sequence[str] = (),
) -> None:
    path = profile.probes.ready or profile.probes.health
    probe = HttpProbe(endpoint, _PROBE_TIMEOUT_S)
    answer = ""

    def is_ready() -> bool:
        nonlocal answer
        response = probe.connect() if path is None else probe.get(path)
        answer = response.problem or f"{path} answers {response.status} {response.said}".rstrip()
        return response.is_good

    if wait_until(is_ready, process, timeout_s):
        return
    said = last_lines(read_end(log_file), 3) if process is not None else ""
    if process is not None and process.returncode is not None:
        raise _explain_end("the target, before it was ready,", process.returncode, said, defects)
    hint = "is it running, and its database?" if process is None else f"its log ends with: {said}"
    raise Unavailable(f"the target at {endpoint.url} is not ready within {timeout_s:g} s: {answer}; {hint}")
