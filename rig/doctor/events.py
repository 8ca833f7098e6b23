"""Steps about the events: how each kind is answered, and what the database holds of it afterwards.

For each kind two steps: its answers, and its rows. The truth is read once, between them, by the reader of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rig.doctor.findings import NotApplicable, Symptom
from rig.doctor.patient import Patient
from rig.doctor.specimens import FORGED, TIMEOUT_S, VALID, Result, outcome, send, specimens
from rig.errors import ConfigError, EvidenceError
from rig.evidence.truth import Anomaly, UncleanKey
from rig.model import RequestClass
from rig.profile import Profile
from rig.target.http_probe import Asker
from rig.target.tenants import provision

_NAMED = 3
"""So many of a kind are named; the rest follows from them as a rule."""

_MEND_ROWS = {
    Anomaly.LOST: "is the table and the column that the profile names the right one, and does the answer wait for the "
    "commit? Where a queue stores after the answer, truth.quiet_s must be longer than that takes; where nothing is to "
    'be kept of it, the profile says row = "none"',
    Anomaly.DUPLICATED: "the target must deduplicate on tenant and key together",
    Anomaly.UNEXPECTED: "no row may come of it",
    Anomaly.MISROUTED: "mend the target, or the row that [answers.…] promises",
    Anomaly.WRONG_TENANT: "rows must carry what truth.canonical.tenant and truth.dead.tenant name, each tenant its own",
    Anomaly.WRONG_CHANNEL: "mend [[channels]] or truth.canonical.channel",
    Anomaly.WRONG_CORRELATION: "does truth.canonical.correlation name the column that keeps headers.correlation_id?",
}


def tenants_exist(patient: Patient) -> str:
    """One or two, made or fixed; and what the truth holds of them before anything is sent."""
    profile = patient.profile
    names = ("A", "B") if len(profile.tenants.fixed) != 1 else ("A",)
    patient.tenancy = provision(profile, patient.key, names, patient.store.truth_dsn, patient.environ, patient.secrets)
    patient.specimens = tuple(specimens(profile, patient.targeter, names))
    scenarios = [specimen.scenario for specimen in patient.specimens]
    patient.baseline = patient.reader.preflight(patient.targeter, scenarios, patient.tenancy.tenants, None)
    return ", ".join(f"{tenant.name} is {tenant.id}" for tenant in patient.tenancy.tenants)


def answers_of(name: str) -> Callable[[Patient], str]:
    """The step that sends one kind of event on every route and looks at the answers."""

    def step(patient: Patient) -> str:
        chosen = [specimen for specimen in patient.specimens if specimen.name == name]
        if not chosen:
            raise NotApplicable("no route signs the time" if name in FORGED else "the profile has one tenant only")
        asker = Asker(patient.endpoint, TIMEOUT_S)
        for specimen in chosen:
            sent = send(specimen, patient.targeter, patient.tenancy.credentials, asker)
            patient.results.setdefault(name, []).extend(sent)
        results = patient.results[name]
        wrong = [result for result in results if not result.right(patient.profile)]
        if wrong:
            raise Symptom(_answers_in_words(patient.profile, name, wrong))
        routes = dict.fromkeys(result.route for result in results)
        return "; ".join(
            f"{route} {', '.join(str(result.reply.status) for result in results if result.route == route)}"
            for route in routes
        )

    return step


def _answers_in_words(profile: Profile, name: str, wrong: Sequence[Result]) -> str:
    first = wrong[0]
    said = f", saying {first.reply.said[:160]!r}" if first.reply.said else ""
    answers = f"{first.reply.status}{said}" if first.reply.status else f"nothing ({first.reply.problem})"
    others = f" (and {len(wrong) - 1} more such requests)" if len(wrong) > 1 else ""
    expected = "4xx" if first.refused else " or ".join(map(str, profile.answer(first.request_class).status))
    text = f"route {first.route!r} answers {answers} to {name}, not {expected}{others}"
    return f"{text}; {_remedy(profile, name, first)}"


def _remedy(profile: Profile, name: str, result: Result) -> str:
    status, route = result.reply.status, profile.route(result.route)
    if not status or status >= 500:
        return "the target's own log says why"
    if result.refused:
        return "the target must refuse it with 401 or 403 and keep nothing of it"
    if status in (401, 403) and name == VALID:
        secret = f"${route.secret_env}" if route.secret_env else f"the tenant's secret {route.secret!r}"
        return (
            f"check headers.tenant_key and its prefix, {secret}, and the route's scheme, signed, signature_header and "
            "signature_prefix"
        )
    if status in (404, 405):
        return f"check the route's path {route.path!r} and target.base_url"
    if name == VALID and status in (400, 415, 422):
        return "check the route's body and content_type against what the target takes for valid"
    key = result.request_class.value
    return f"if that is its right answer, the profile must say so: [answers.{key}] status = [{status}]"


def truth_is_read(patient: Patient) -> str:
    """Once, when the database is at rest."""
    drives = [
        outcome(specimen, results, patient.profile)
        for specimen in patient.specimens
        if (results := _results_of(patient, specimen.name, specimen.scenario.route))
    ]
    if not (quiet := patient.reader.quiesce()):
        raise EvidenceError(f"the database was {quiet}; is something else at work in it?")
    files = (*patient.store.log_files, *patient.target.log_files)
    patient.truth = patient.reader.read(patient.targeter, drives, patient.tenancy.tenants, patient.baseline, files)
    return f"{patient.truth.keys_reconciled} keys in {patient.truth.read_s:.1f} s"


def _results_of(patient: Patient, name: str, route: str) -> list[Result]:
    return [result for result in patient.results.get(name, ()) if result.route == route]


def rows_of(name: str) -> Callable[[Patient], str]:
    """The step that looks at the rows of one kind of event."""

    def step(patient: Patient) -> str:
        labels = {specimen.scenario.label for specimen in patient.specimens if specimen.name == name}
        if not labels:
            raise NotApplicable("nothing of the kind was sent")
        wrong = [key for key in patient.truth.unclean if key.drive in labels and key.kind is not Anomaly.RECOVERED]
        if wrong:
            raise Symptom(_rows_in_words(wrong))
        groups = [group for group in patient.truth.groups if group.drive in labels]
        canonical, dead = sum(group.canonical for group in groups), sum(group.dead for group in groups)
        sent = len(patient.results.get(name, ()))
        return f"{sent} sent: {canonical} canonical, {dead} dead"

    return step


def _rows_in_words(wrong: Sequence[UncleanKey]) -> str:
    counted: dict[Anomaly, list[UncleanKey]] = {}
    for key in wrong:
        counted.setdefault(key.kind, []).append(key)
    parts = []
    for kind, keys in counted.items():
        named = ", ".join(filter(None, (f"{key.key} {key.detail}".strip() for key in keys[:_NAMED])))
        parts.append(f"{len(keys)} {kind.value.replace('_', ' ')} ({named}): {_MEND_ROWS[kind]}")
    return "; ".join(parts)


def nothing_else_is_stored(patient: Patient) -> str:
    """No row of these tenants that no request explains."""
    stray = [key for key in patient.truth.unclean if not key.drive]
    if stray:
        raise Symptom(_rows_in_words(stray))
    return f"{len(patient.tenancy.tenants)} tenants have no other new row"


def no_personal_data(patient: Patient) -> str:
    """In no column and no log file."""
    truth = patient.truth
    if truth.log_files_unread:
        raise ConfigError(f"log file {truth.log_files_unread[0]} cannot be read; mend target.log_files or its rights")
    if truth.canary_hits:
        places = ", ".join(dict.fromkeys(f"{hit.place} {hit.json_path}".strip() for hit in truth.canary_hits))
        raise Symptom(f"found in {places}; an event that carries personal data must be scrubbed before it is kept")
    return f"{truth.columns_scanned} columns and {len(truth.log_files_scanned)} log files searched"


def classes_without_rows(profile: Profile) -> list[RequestClass]:
    """The classes of which the target keeps nothing."""
    return [kind for kind in RequestClass if profile.answer(kind).row.value == "none"]
