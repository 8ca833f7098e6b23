"""Steps about the events: how each kind is answered, and what the database holds of it afterwards.

Each kind has two steps: its answers, and its rows. Between them the truth is read once, as in a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rig.checks.transactions import describe_open_transactions
from rig.doctor.context import DoctorContext
from rig.doctor.findings import NotApplicable, Symptom, WrongAnswer, WrongProfile
from rig.doctor.remedies import (
    describe_stored_key,
    find_narrow_columns,
    missing_rights,
    writes_of_answers,
    writes_of_personal_data,
    writes_of_rows,
)
from rig.doctor.sample_requests import (
    FORGED,
    INVALID_JSON,
    MALFORMED,
    OLD_SIGNATURE,
    PERSONAL,
    REPLAYED,
    SHARED,
    TIMEOUT_S,
    UNKNOWN_TENANT,
    VALID,
    WRONG_SIGNATURE,
    SampleResult,
    outcome,
    sample_requests,
    send,
)
from rig.evidence.truth import Discrepancy, DiscrepancyKind
from rig.machine.files import read_end
from rig.profile.edit import Write
from rig.target.http_probe import HttpProbe
from rig.target.refusal import find_cause, may_be_refusal
from rig.target.tenants import provision
from rig.text import last_lines
from rig.truth.expected import SentRequests

_NAMED = 3
"""This many of a kind are named; the others usually have the same cause."""

_MEND_ROWS = {
    DiscrepancyKind.LOST: "check the table and column in the profile, and that the answer waits for the commit. "
    "If a queue stores the event after the answer, [truth.arrival] within_s must be longer than that takes. If nothing "
    'is to be stored, write row = "none"',
    DiscrepancyKind.DUPLICATED: "the target must deduplicate by tenant and key together",
    DiscrepancyKind.UNEXPECTED: "the target must not store it, or the profile must say that it does",
    DiscrepancyKind.FORGED: "the target must not store it, or truth.rejections must name the table",
    DiscrepancyKind.MISROUTED: "mend the target, or row in [answers.…]",
    DiscrepancyKind.WRONG_TENANT: "each row must have its own tenant's id in the column of truth.canonical.tenant or "
    "truth.dead.tenant",
    DiscrepancyKind.WRONG_CHANNEL: "mend [[channels]] or truth.canonical.channel",
    DiscrepancyKind.WRONG_CORRELATION: "check that truth.canonical.correlation names the column of "
    "headers.correlation_id",
    DiscrepancyKind.ALTERED: "the target must store what was sent; if the column is to hold something else, mend its "
    "line in the fields, or take it out",
    DiscrepancyKind.COPY: "the target must store an event once; if it is the event's own row, its column "
    "truth.canonical.key must hold <key> as it was sent",
}


_WHY_NOT = {
    SHARED: "the profile has only one tenant",
    MALFORMED: "no route says what is malformed (malformed)",
    PERSONAL: "no route says where personal data could be (personal)",
    INVALID_JSON: "no route sends JSON",
    WRONG_SIGNATURE: "no route has a signature",
    OLD_SIGNATURE: "no route signs the time",
    UNKNOWN_TENANT: "no request names a tenant by a key of its own",
}


def tenants_exist(context: DoctorContext) -> str:
    """There are one or two tenants, made or fixed. What the database has of them before the events is noted."""
    profile = context.profile
    names = profile.first_tenants
    context.tenancy = provision(profile, context.key, names, context.store.truth_dsn, context.environ, context.secrets)
    context.sample_requests = tuple(sample_requests(profile, context.targeter, names))
    scenarios = [sample_request.scenario for sample_request in context.sample_requests]
    context.baseline = context.reader.preflight(
        context.targeter, scenarios, context.tenancy.tenants, None, keys_must_fit=False
    )
    if not context.tenancy.tenants[0].id:
        return "the service has none"
    return ", ".join(f"{tenant.name} is {tenant.id}" for tenant in context.tenancy.tenants)


def answers_of(name: str) -> Callable[[DoctorContext], str]:
    """The step that sends one kind of event on every route and looks at the answers."""

    def step(context: DoctorContext) -> str:
        chosen = [sample_request for sample_request in context.sample_requests if sample_request.name == name]
        if not chosen:
            is_off = name in FORGED and context.profile.answers.forged == "off"
            raise NotApplicable("the profile sends no forged request" if is_off else _WHY_NOT[name])
        probe = HttpProbe(context.endpoint, TIMEOUT_S)
        for sample_request in chosen:
            sent = send(sample_request, context.targeter, context.tenancy.credentials, probe)
            context.results.setdefault(name, []).extend(sent)
        results, profile = context.results[name], context.profile
        wrong = [result for result in results if not result.is_right(profile)]
        if wrong and name == VALID and may_be_refusal(wrong[0].response.status):
            route, tenant = profile.route(wrong[0].route), context.tenancy.tenants[0].name
            own = {tenant: context.tenancy.credentials[tenant]}
            refusal = find_cause(profile, context.key, context.endpoint, route, own)
            if refusal.cause:
                said = f"route {route.name!r} answers {refusal.answer} to {name}: {refusal.remedy}"
                raise Symptom(said, *refusal.writes)
        if wrong:
            raise WrongAnswer(_answers_in_words(context, name, wrong), *writes_of_answers(context, name))
        routes = dict.fromkeys(result.route for result in results)
        return "; ".join(
            f"{route} {', '.join(str(result.response.status) for result in results if result.route == route)}"
            for route in routes
        )

    return step


def _answers_in_words(context: DoctorContext, name: str, wrong: Sequence[SampleResult]) -> str:
    first, profile = wrong[0], context.profile
    said = f", saying '{first.response.said[:160]}'" if first.response.said else ""
    answers = f"{first.response.status}{said}" if first.response.status else f"nothing ({first.response.problem})"
    others = f" (and {len(wrong) - 1} more such requests)" if len(wrong) > 1 else ""
    is_forged = first.forgery is not None
    expected = "4xx" if is_forged else " or ".join(map(str, profile.answer(first.request_class, first.route).right))
    kinds = ", ".join(dict.fromkeys(result.forgery.value for result in wrong if result.forgery))
    named = f"{name} ({kinds})" if is_forged else name
    text = f"route {first.route!r} answers {answers} to {named}, not {expected}{others}"
    return f"{text}; {_remedy(context, name, first)}"


def _remedy(context: DoctorContext, name: str, result: SampleResult) -> str:
    status, route = result.response.status, context.profile.route(result.route)
    if result.response.untrusted:
        return "give target.client_cert a certificate that it accepts"
    if not status or (status >= 500 and (name in (VALID, REPLAYED, SHARED) or name in FORGED)):
        return "; ".join((*missing_rights(context), *find_narrow_columns(context, result), _log_in_words(context)))
    if status >= 500:
        return f"{_log_in_words(context)}; if it answers so on purpose, the profile must say so"
    if result.forgery is not None:
        return (
            "the target must refuse it with 401 or 403 and store nothing; if it answers so on purpose and stores "
            "nothing, the profile must say so"
        )
    if 300 <= status < 400:
        location = result.response.headers.get("location", "nowhere")
        return (
            f"it leads to {location}, and no sender follows: mend the route's path {route.path!r}, or target.base_url"
        )
    if status in (401, 403) and name == VALID:
        secret = f"${route.secret_env}" if route.secret_env else f"the tenant's secret {route.secret!r}"
        return (
            f"check headers.tenant_key and its prefix, {secret}, and the route's scheme, signed, signature_header and "
            "signature_prefix"
        )
    if status in (404, 405):
        return f"check the route's path {route.path!r} and target.base_url"
    if name == VALID and status in (400, 415, 422):
        return (
            "check the route's body and content_type, and give the headers that its sender always sets: "
            'headers = { X-Topic = "…" }'
        )
    if name == SHARED:
        return "each tenant has keys of its own: the target must look for a known event by tenant and key"
    return "if that is its right answer, the profile must say so"


def _log_in_words(context: DoctorContext) -> str:
    """What the target wrote last; where the doctor did not start it, its log is known to others."""
    if not context.is_launched:
        return "look at the target's own log"
    return f"the target's log ends with: {last_lines(read_end(context.target.log_files[0]), 3)}"


def truth_is_read(context: DoctorContext) -> str:
    """Once, when the rows are there, or the database is quiet."""
    scenario_runs = [
        outcome(each, results, context.profile)
        for each in context.sample_requests
        if (results := [one for one in context.results.get(each.name, ()) if one.route == each.scenario.route])
    ]
    sent = SentRequests(context.targeter, scenario_runs, context.tenancy.tenants)
    left = context.reader.require_arrival(sent)
    files = (*context.store.log_files, *context.target.log_files)
    context.truth = context.reader.read(sent, context.baseline, files, left)
    return f"{context.truth.keys_reconciled} keys in {context.truth.read_s:.1f} s"


def rows_of(name: str) -> Callable[[DoctorContext], str]:
    """The step that looks at the rows of one kind of event."""

    def step(context: DoctorContext) -> str:
        labels = {
            sample_request.scenario.label for sample_request in context.sample_requests if sample_request.name == name
        }
        if not labels:
            raise NotApplicable("nothing of this kind was sent")
        wrong = [
            key
            for key in context.truth.discrepancies
            if key.scenario_run in labels and key.kind is not DiscrepancyKind.RECOVERED
        ]
        if wrong:
            said = "; ".join((_rows_in_words(wrong), *describe_stored_key(context, wrong)))
            raise Symptom(said, *writes_of_rows(context, name, wrong))
        groups = [group for group in context.truth.groups if group.scenario_run in labels]
        canonical, dead = sum(group.canonical for group in groups), sum(group.dead for group in groups)
        sent = len(context.results.get(name, ()))
        return f"{sent} sent: {canonical} canonical, {dead} dead"

    return step


def _rows_in_words(wrong: Sequence[Discrepancy]) -> str:
    counted: dict[DiscrepancyKind, list[Discrepancy]] = {}
    for key in wrong:
        counted.setdefault(key.kind, []).append(key)
    parts = []
    for kind, keys in counted.items():
        named = ", ".join(filter(None, (f"{key.key} {key.detail}".strip() for key in keys[:_NAMED])))
        parts.append(f"{len(keys)} {kind.value.replace('_', ' ')} ({named}): {_MEND_ROWS[kind]}")
    return "; ".join(parts)


def no_other_rows(context: DoctorContext) -> str:
    """These tenants have no row that no request explains."""
    stray = [key for key in context.truth.discrepancies if not key.scenario_run]
    if stray:
        raise Symptom(_rows_in_words(stray))
    tenants = context.tenancy.tenants
    return f"no other new row{f' of {len(tenants)} tenants' if tenants[0].id else ''}"


def no_open_transactions(context: DoctorContext) -> str:
    """Nothing that the events began in the database goes on without an end."""
    if context.truth.left_open is None:
        raise NotApplicable("the role of the truth DSN does not see what other roles do")
    if wrong := describe_open_transactions(context.truth.left_open):
        raise Symptom(wrong)
    return "no session stands idle in a transaction"


def no_personal_data(context: DoctorContext) -> str:
    """No column and no log file has personal data."""
    truth = context.truth
    if truth.log_files_unread:
        raise WrongProfile(
            f"log file {truth.log_files_unread[0]} cannot be read; correct target.log_files, or the file's permissions",
            Write(("target",), {"log_files": None}),
        )
    if truth.canary_hits:
        places = ", ".join(dict.fromkeys(f"{hit.place} {hit.json_path}".strip() for hit in truth.canary_hits))
        raise Symptom(
            f"found in {places}; the target must remove personal data before it stores an event, or the profile must "
            "say where it keeps them",
            *writes_of_personal_data(context),
        )
    return f"{truth.columns_scanned} columns and {len(truth.log_files_scanned)} log files searched"
