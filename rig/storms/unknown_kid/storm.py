"""The key storm: which cases against which subject (``rig.storms.unknown_kid.one_case`` runs one)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path

from rig.checks.race_tests.catalog import require_protections
from rig.errors import ConfigError, UsageError
from rig.evidence.key_storm import KeyStorm
from rig.evidence.storm import REFERENCE, UNKNOWN_KID
from rig.evidence.verifier_settings import VerifierSettings, VerifierTraits
from rig.machine.extras import missing
from rig.profile import Profile
from rig.profile.storms import UnknownKid
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.unknown_kid.cases import CASES
from rig.storms.unknown_kid.keyring import Keyring
from rig.storms.unknown_kid.one_case import CasePlan, run_case
from rig.storms.unknown_kid.subjects import FLAWED, READY, Subject, load
from rig.target.endpoint import Endpoint, TlsFiles

PROCESSES = 16
TIMES = {one.name for one in fields(VerifierSettings)}
"""The promises that are times, and settings of a case."""


def require_key_ids(profile: Profile, options: StormOptions, profile_dir: Path) -> None:
    """UsageError or ConfigError where the options or the profile name what does not exist."""
    subject = _subject(profile, options, profile_dir)
    if options.without and subject.name == REFERENCE:
        require_protections(UNKNOWN_KID, options.without)
    if unknown := [name for name in options.cases if name not in CASES]:
        raise UsageError(f"--case {unknown[0]}: {UNKNOWN_KID} has the cases {', '.join(CASES)}")


def unknown_kid(environment: StormEnvironment, options: StormOptions) -> Iterator[KeyStorm]:
    """Run the cases one after the other, against the subject of the options or of the profile; each as it ends.

    Raises as ``require_key_ids``, and RigError where something that is needed does not start.
    """
    require_key_ids(environment.profile, options, environment.profile_dir)
    subject = _subject(environment.profile, options, environment.profile_dir)
    section = environment.profile.storms.unknown_kid
    if section is not None and subject.remote:
        tls_files = TlsFiles.of(environment.profile.target)
        fleet = [Endpoint.parse(url, tls_files).check_and_pin(environment.allowed_host) for url in section.urls]
        pins = ("RIG_STORM_ADDRESSES", json.dumps([endpoint.addresses for endpoint in fleet]))
        trusted = ("RIG_STORM_TLS_FILES", json.dumps(asdict(tls_files), default=str))
        subject = replace(subject, environ=(*subject.environ, pins, trusted))
    if section is not None and section.command and subject.name == "http":
        command = environment.command(section.command, "storms.unknown-kid.command", port="{port}")
        launch = (("RIG_STORM_COMMAND", json.dumps(command)), ("RIG_STORM_LOG", str(environment.log_file("fleet"))))
        subject = replace(subject, environ=(*subject.environ, *launch))
    if options.libraries:
        subject = replace(subject, path=options.libraries)
    traits = subject.traits
    plan = CasePlan(
        subject,
        Keyring.make(traits.algorithms, traits.keys),
        options.processes or PROCESSES,
        options.key_ids,
        options.without,
    )
    # A fleet that runs already may have fetched just now.
    fetched_ns = time.monotonic_ns() if subject.remote else None
    # A library that is not installed can run no case; all count as asked for then.
    asked = bool(options.cases) or bool(subject.needs and missing(subject.needs, "verifiers"))
    for name in options.cases or CASES:
        if not subject.remote:  # what it kept from the case before, on a disk or elsewhere, must be of no use
            plan = replace(plan, keyring=Keyring.make(traits.algorithms, traits.keys))
        storm = run_case(environment, plan, subject.case(name), asked=asked, fetched_ns=fetched_ns)
        if subject.remote and not storm.not_run:
            fetched_ns = storm.ended_ns
        yield storm


def _subject(profile: Profile, options: StormOptions, profile_dir: Path) -> Subject:
    section = profile.storms.unknown_kid
    return find_subject(options.subject or (section.subject if section else REFERENCE), section, profile_dir)


def find_subject(name: str, section: UnknownKid | None, profile_dir: Path) -> Subject:
    """The subject of that name: one of the rig's, a factory, or ``http``, the fleet of the profile's section.

    A module is looked for in the profile's folder, too. UsageError where there is none. Whether its library is
    installed is not checked here.
    """
    if (ready := READY.get(name) or FLAWED.get(name)) is not None:
        return ready
    if name == "http":
        if section is None or not (section.command or (section.urls and section.origin_port)):
            raise ConfigError(
                "subject http: the profile needs command, or urls and origin_port, in [storms.unknown-kid]"
            )
        return _http_subject(section)
    if ":" not in name:
        raise UsageError(f"{name!r} is no subject; known are {', '.join(READY)}, http, and module:factory")
    sys.path.append(str(profile_dir))
    try:
        load(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"subject {name}: {error}") from None
    finally:
        sys.path.remove(str(profile_dir))
    subject = Subject(name, name, module_dir=str(profile_dir))
    return subject if section is None else _with_section(subject, section)


def _with_section(subject: Subject, section: UnknownKid) -> Subject:
    """The subject with what the profile says of it; a factory takes the cases' settings where it states none."""
    times = section.promises.model_dump(exclude_unset=not subject.remote, include=TIMES)
    traits = section.promises.model_dump(exclude=TIMES)
    return replace(
        subject,
        promises=tuple(times.items()),
        traits=VerifierTraits(**traits),
        prepare=section.prepare or (),
        issuer=section.issuer,
        cache_control=section.cache_control,
    )


def _http_subject(section: UnknownKid) -> Subject:
    environ = {
        "RIG_STORM_URLS": ",".join(section.urls),
        "RIG_STORM_PATH": section.path,
        "RIG_STORM_HEADER": section.header,
        "RIG_STORM_SCHEME": section.scheme,
        "RIG_STORM_ACCEPTED": ",".join(str(status) for status in section.accepted),
        "RIG_STORM_REJECTED": ",".join(str(status) for status in section.rejected),
        "RIG_STORM_TIMEOUT_S": f"{section.timeout_s:g}",
    }
    subject = Subject(
        "http",
        f"rig.storms.unknown_kid.subjects:{'launched' if section.command else 'http'}_fleet",
        environ=tuple(environ.items()),
        remote=section.command is None,
        origin_port=section.origin_port,
    )
    return _with_section(subject, section)
