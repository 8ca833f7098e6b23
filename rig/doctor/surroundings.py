"""Steps around the events: profile, environment, database, roles, target, processes, samplers."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import psutil

from rig.doctor.context import DoctorContext
from rig.doctor.findings import NotApplicable, Symptom, WrongProfile
from rig.doctor.remedies import writes_of_tables
from rig.errors import ConfigError
from rig.machine.processes import children
from rig.profile import load_profile
from rig.profile.edit import Write
from rig.requests.body import compile_bodies
from rig.samplers.pg_queries import FACTS, Facts, unseen
from rig.target.http_answer import read_date
from rig.target.launch import open_target, reach
from rig.target.store import open_store
from rig.truth.catalog import event_tables, text_tables
from rig.truth.isolation import read_isolation
from rig.truth.preflight import require_bound_runtime, require_full_view
from rig.truth.row_security import open_tables
from rig.truth.session import connect

_NO_PATH = (401, 403, 404, 405)
"""Statuses that no service gives for a while only."""


def profile_is_valid(context: DoctorContext) -> str:
    """It loads, and its bodies, mutations and places of personal data compile as in a run."""
    context.profile = profile = load_profile(context.path)
    context.corrected = context.path.read_text("utf-8-sig")
    for route in profile.routes:
        compile_bodies(route)
    return f"{profile.name}; routes: {', '.join(route.name for route in profile.routes)}"


def environment_is_complete(context: DoctorContext) -> str:
    """Every variable that the profile names is set; all that are missing are named at once."""
    profile, environ = context.profile, context.environ
    wanted = {route.secret_env: f"the secret of route {route.name!r}" for route in profile.routes if route.secret_env}
    wanted |= {
        tenant.api_key_env: f"the API key of tenant {tenant.id}"
        for tenant in profile.tenants.fixed
        if tenant.api_key_env
    }
    if not context.is_launched:
        wanted[profile.truth.dsn_env] = "the DSN that sees every row"
    missing = [f"${variable} ({purpose})" for variable, purpose in wanted.items() if not environ.get(variable)]
    if missing:
        raise ConfigError(f"not set: {', '.join(missing)}; export them, or correct their names in the profile")
    return f"set: {', '.join(wanted)}" if wanted else "the profile needs none"


def database_answers(context: DoctorContext) -> str:
    """The target's own database answers, or one is made for the examination."""
    context.store = store = context.stack.enter_context(
        open_store(context.profile, context.supervisor, context.environ, context.logs)
    )
    context.secrets.learn_from(context.profile, context.environ, store)
    return f"PostgreSQL {store.facts['server_version']}, from {store.facts['source']}"


def target_listens(context: DoctorContext) -> str:
    """It can be reached, and may be sent events."""
    if context.is_launched:
        raise NotApplicable("the rig launches it")
    return reach(context.profile, context.settings).url


def target_is_ready(context: DoctorContext) -> str:
    """It answers the ready probe, after the doctor has launched it if the profile says so."""
    settings, path = context.settings, context.profile.probes.ready
    if not context.is_launched and path is not None and (response := context.probe.get(path)).status in _NO_PATH:
        answer = f"probes.ready {path} answers {response.status}; mend the path, or leave it out"
        raise Symptom(answer, Write(("probes",), {"ready": None}))
    target = open_target(
        context.profile, context.path.resolve().parent, context.store, context.logs, context.environ, settings
    )
    context.target = context.stack.enter_context(target)
    return f"{context.target.endpoint.url}, launched here" if context.is_launched else context.endpoint.url


def probes_answer(context: DoctorContext) -> str:
    """Each path in ``probes`` answers 2xx within its timeout."""
    probes = context.profile.probes
    paths = {"health": probes.health, "ready": probes.ready, "metrics": probes.metrics}
    named = {name: path for name, path in paths.items() if path is not None}
    if not named:
        raise NotApplicable("the profile names none ([probes]): no run can tell whether the target stays healthy")
    said = []
    for name, path in named.items():
        response = context.probe.get(path)
        if not response.is_good:
            answer = response.problem or f"{response.status} {response.said[:80]}".rstrip()
            leave_out = Write(("probes",), {name: None})
            raise Symptom(f"probes.{name} {path} answers {answer}; mend the path, or leave it out", leave_out)
        said.append(f"{path} {response.status}")
    return ", ".join(said)


def truth_tables_are_there(context: DoctorContext) -> str:
    """The tables and columns in the profile exist."""
    with connect(context.store.truth_dsn) as connection:
        try:
            tables = event_tables(connection, context.profile.truth)
        except ConfigError as error:
            raise WrongProfile(str(error), *writes_of_tables(connection, context.profile.truth)) from None
    return f"{' and '.join(map(str, tables.all))}, with the columns that the profile names"


def truth_is_readable(context: DoctorContext) -> str:
    """The truth DSN sees every row of every table that can hold text, and so personal data."""
    truth = context.profile.truth
    with connect(context.store.truth_dsn) as connection:
        require_full_view(connection, event_tables(connection, truth))
        searched = text_tables(connection, truth.schemas)
    columns = sum(len(table.text_columns) for table in searched)
    return f"{len(searched)} tables, {columns} columns that can hold personal data"


def row_security_is_on(context: DoctorContext) -> str:
    """Each event table has it. A service may keep its tenants apart by other means, so its lack is no fault."""
    with connect(context.store.truth_dsn) as connection:
        notes = open_tables(connection, event_tables(connection, context.profile.truth))
    if notes:
        has_tenants = context.profile.truth.canonical.tenant is not None
        why = "only the service's own queries keep tenants apart" if has_tenants else "the service has no tenants"
        raise NotApplicable(f"{'; '.join(notes)}: {why}")
    return "enabled on each event table"


def runtime_role_is_bound(context: DoctorContext) -> str:
    """The target connects with a role of its own, which row-level security binds."""
    truth, dsn = context.profile.truth, context.store.runtime_dsn
    if not dsn:
        raise NotApplicable(f"${truth.runtime_dsn_env} is not set, so it is not known how the target connects")
    with connect(context.store.truth_dsn) as connection:
        notes = require_bound_runtime(connection, event_tables(connection, truth), dsn)
        if truth.isolation is not None:
            report = read_isolation(connection, event_tables(connection, truth), dsn, truth.isolation.setting, ())
            if wrong := "; ".join((*report.faults, report.untried)).strip("; "):
                raise ConfigError(f"[truth.isolation] promises row-level security, but {wrong}")
    if notes:
        raise NotApplicable("; ".join(notes))
    return "a role of its own, without superuser or BYPASSRLS; row-level security applies to it"


def clocks_agree(context: DoctorContext) -> str:
    """The target's clock is near enough to this one for signatures. It is read from the Date of its answers."""
    ageing = [route.max_age_s for route in context.profile.routes if route.max_age_s is not None]
    if not ageing:
        raise NotApplicable("no route signs the time")
    results = [result for several in context.results.values() for result in several if result.response.date]
    if not results:
        raise NotApplicable("the target's answers carry no Date")
    date = read_date(results[-1].response.date)
    if date is None:
        raise NotApplicable(f"the target's Date header is no date: {results[-1].response.date[:40]!r}")
    skew_s = date.timestamp() - results[-1].received_unix
    if abs(skew_s) > min(ageing) / 2:
        raise ConfigError(
            f"the target's clock is {skew_s:+.0f} s off, and signatures are valid for {min(ageing):g} s; set both "
            "clocks by the same source"
        )
    return f"within {max(1.0, abs(skew_s)):.0f} s; signatures are valid for {min(ageing):g} s"


def processes_are_found(context: DoctorContext) -> str:
    """The samplers find the server's processes: the launched ones, those that ``target.process_match`` finds, or those
    that listen at its port.
    """
    if context.target.pid is not None:
        count = 1 + len(children(context.target.pid, recursive=True))
        return f"{count} of the launched target"
    match = context.profile.target.process_match
    if match is None:
        listeners = context.target.listeners
        if not listeners:
            raise NotApplicable(
                "it is not seen which processes answer (another machine or user, or a proxy in front): CPU and memory "
                "of the server are not sampled; give target.process_match"
            )
        found = [*listeners, *(each.pid for one in listeners for each in children(one, recursive=True))]
        return f"{len(found)} listen at the target's port, or were started by one that does: {_few(found)}"
    pattern = re.compile(match)
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    found = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.pid not in own and pattern.search(" ".join(process.info["cmdline"] or ()))
    ]
    if not found:
        raise WrongProfile(
            f"no command line of this machine matches target.process_match {match!r}; correct it (`ps -eo args` "
            "shows them), or leave it out if the target runs elsewhere",
            Write(("target",), {"process_match": None}),
        )
    return f"{len(found)} match target.process_match: {_few(found)}"


def _few(pids: Sequence[int]) -> str:
    return ", ".join(map(str, pids[:8]))


def samplers_may_look(context: DoctorContext) -> str:
    """The truth role sees the sessions of other roles."""
    with connect(context.store.truth_dsn) as connection:
        (row,) = connection.execute(FACTS).fetchall()
    facts = Facts(*row)
    hidden = unseen(facts)
    if not facts.sees_all:
        raise ConfigError(f"hidden from ${context.profile.truth.dsn_env}: {hidden[0]}")
    return f"all sessions are seen; missing: {'; '.join(hidden)}" if hidden else "all sessions are seen"
