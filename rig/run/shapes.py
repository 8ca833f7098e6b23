"""The step of S10: events of many shapes, one after another; what fails is shrunk, and everything is written down.

Flow for each route: the plain event, which must be stored; each field with another plain value, which shows whether it
may be anything; all shapes alone; where a value is too large, the largest that is accepted; then some of those that
were stored, several in one event. Every failure that no earlier one explains is shrunk (``rig.run.shrinking``). It runs
after the rows of the other scenarios were read, so none of its rows is in any count.
"""

from __future__ import annotations

import random
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import psycopg

from rig.chaos.database import TABLE_LOCKED
from rig.errors import ConfigError, EvidenceError
from rig.evidence.shapes import ShapeFinding, ShapeOutcome, ShapesReport
from rig.model import Scenario, ShapeKind
from rig.profile import Profile
from rig.requests.key_pairs import KEY_PAIRS
from rig.requests.shape_values import changes_of, changes_of_list, control_of, whole_changes
from rig.requests.shaped import ShapedRoute
from rig.requests.shapes import EXTRA, Change, EventField, FieldRole
from rig.requests.targeter import Targeter
from rig.run.live_run import LiveRun
from rig.run.record import Record
from rig.run.shape_session import HELD, ShapeSession, TargetGone, TriedEvent
from rig.run.shrinking import Changes, OutOfRequests, Shrinker, find_most
from rig.target.endpoint import Endpoint
from rig.target.http_probe import HttpProbe
from rig.text import shorten
from rig.truth.session import connect, in_words
from rig.truth.shaped_rows import ShapedRows

_SHRINKING_SHARE, _TOGETHER_SHARE = 0.35, 0.1
"""So much of a route's requests is kept for shrinking, and for events of several shapes."""
_TOGETHER_MOST = 4
_EACH_MOST = 60
"""Requests for shrinking one event, at most."""
_FINDINGS_MOST = 10
_VERBS = {
    ShapeOutcome.NO_ANSWER: "gets no answer",
    ShapeOutcome.DISBELIEVED: "is answered 401, though it is signed: check the signature over the body as it came",
    ShapeOutcome.LOST: "is accepted, and has no row",
    ShapeOutcome.DOUBLED: "is stored more than once",
    ShapeOutcome.KEPT: "is refused, and stored all the same",
    ShapeOutcome.EARLY: "is accepted before it is stored, and a crash just then loses it; if a queue stores events, "
    "write [truth.arrival] within_s",
    ShapeOutcome.MERGED: "the second event is taken for the first",
}
_ONE_OF_TWO = (
    "the second is not stored, or in the place of the first. If that is not meant, the service deduplicates by another "
    "part of the event than <key>"
)
_PLAIN, _PLAIN_MOST = "a plain event", 4
_Finding = tuple[TriedEvent, ShapeFinding]
_LENGTH_ALIKE = 32
"""Bodies whose lengths differ by no more bytes fail for their length. A level of nesting adds seven."""
_REFUSED = (ShapeOutcome.REFUSED, ShapeOutcome.SET_ASIDE)
_LARGEST_SHARE = 0.25
"""So near the largest number that is accepted one is tried; of texts the longest itself is."""
_EXPLAINED = (ShapeOutcome.NO_ANSWER, ShapeOutcome.MERGED)
"""Outcomes of which more is known than the word says."""


def run_shapes(run: LiveRun, scenarios: Sequence[Scenario]) -> None:
    """Send S10 and write what came of it into the pack."""
    begun_s, profile, tenancy, endpoint = time.monotonic(), run.job.profile, run.tenancy, run.target.endpoint
    report = ShapesReport(tuple(scenarios), compares_content=profile.compares_content)
    run.record.pack.write_shapes(report)
    probe = HttpProbe(endpoint, scenarios[0].timeout_s)
    try:
        with connect(run.store.truth_dsn) as connection:
            rows = ShapedRows(connection, profile, {tenant.name: tenant.id for tenant in tenancy.tenants})
            for number, scenario in enumerate(scenarios, 1):
                targets = Targeter(profile, run.key, endpoint.address).bind(scenario, tenancy.credentials)
                try:
                    route = ShapedRoute(profile, targets, tenancy.credentials[scenario.tenants[0]])
                except ConfigError as error:
                    left_out = {**report.left_out, f"route {scenario.route}": str(error)}
                    report = replace(report, left_out=left_out)
                    continue
                session = ShapeSession(profile, route, scenario, probe, rows, run.reporter.progress)
                may_lock = not run.store.lasting or TABLE_LOCKED in profile.faults.allow
                shapes = RouteShapes(profile, route, session, run.job.settings.seed, number == 1, may_lock)
                run.reporter.run_scenario(scenario, number, len(scenarios), session)
                route_begun_s = time.monotonic()
                try:
                    shapes.run()
                finally:
                    report = _add(run.record, endpoint, report, shapes)
                    run.reporter.end_scenario(scenario, time.monotonic() - route_begun_s, session.response_ms)
    except TargetGone:
        report = replace(report, unproven="the target answers no plain event any more")
    except (psycopg.Error, EvidenceError) as error:
        report = replace(report, unproven=f"the rows could not be looked for: {in_words(error)}")
    finally:
        run.record.pack.write_shapes(replace(report, elapsed_s=round(time.monotonic() - begun_s, 3)))


def _add(record: Record, endpoint: Endpoint, report: ShapesReport, shapes: RouteShapes) -> ShapesReport:
    """The report with what came of one route; the smallest events are files of the pack."""
    findings = list(report.findings)
    for smallest, finding in shapes.findings:
        file = f"shapes/{len(findings) + 1}.body"
        body = record.secrets.blank(smallest.request.body.decode(errors="surrogateescape"))
        record.pack.write(file, body.encode(errors="surrogateescape"))
        command = record.secrets.blank(_curl(smallest.request.request, endpoint, file))
        findings.append(replace(finding, file=file, command=command))
    return replace(
        report,
        events=(*report.events, *shapes.session.events),
        findings=tuple(findings),
        left_out={**report.left_out, **shapes.left_out},
        unproven=report.unproven or shapes.unproven,
    )


def _curl(request: bytes, endpoint: Endpoint, file: str) -> str:
    """The request for a shell, with its body from a file of the pack."""
    first, *lines = request.partition(b"\r\n\r\n")[0].decode(errors="replace").split("\r\n")
    method, path, _ = first.split(" ", 2)
    url = f"{replace(endpoint, base_path='').url}{path}"
    headers = [line for line in lines if not line.lower().startswith(("host:", "content-length:"))]
    words = ["curl", "-i", "-X", method, url, *(word for line in headers for word in ("-H", line))]
    return shlex.join([*words, "--data-binary", f"@{file}"])


@dataclass
class RouteShapes:
    """S10 on one route."""

    profile: Profile
    route: ShapedRoute
    session: ShapeSession
    seed: int
    is_main: bool
    may_lock: bool = True
    findings: list[_Finding] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    unproven: str = ""

    def run(self) -> None:
        """Send all of it. TargetGone where the target answers no plain event any more."""
        name, (plain,) = self.route.route.name, self.session.try_all([()])
        for _ in range(_PLAIN_MOST):
            if plain.outcome is ShapeOutcome.ALTERED:  # it may be its amount or time, which are others next time
                self._add_plain(plain)
                (plain,) = self.session.try_all([()]) or (plain,)
        if plain.outcome is not ShapeOutcome.STORED:
            said = plain.detail or f"answered {plain.response.status}"
            self.unproven = f"the plain event of route {name} is {plain.outcome}: {said}"
            return
        chooser = random.Random(f"{self.seed}/{name}")
        try:
            if self.is_main:
                self._try_held()
                self._try_keys()
            free = self._find_free_fields()
            left = self.session.left
            planned = _choose(list(self._alone(free)), int(left * (1 - _SHRINKING_SHARE - _TOGETHER_SHARE)), chooser)
            tried = self.session.try_all(planned)
            self._shrink(tried)
            self._try_largest(tried)
            good = [each.changes[0] for each in tried if each.outcome is ShapeOutcome.STORED]
            self._shrink(self.session.try_all(_combine(good, int(left * _TOGETHER_SHARE), chooser)))
        finally:
            self.findings = _join_large(self.findings)
            if self.session.is_late:
                self.left_out[f"route {name}"] = "its time was over before all was sent"

    def _try_held(self) -> None:
        """Send an event whose row nobody can write: it must not be accepted as long as that lasts."""
        if self.profile.truth.arrival is not None:
            return
        what = f"{self.route.route.name}: {HELD}"
        if not self.may_lock:
            self.left_out[what] = f"the database is not the rig's, and [faults] allow does not name {TABLE_LOCKED}"
            return
        try:
            tried = self.session.try_held()
        except psycopg.Error as error:
            self.left_out[what] = f"the table could not be locked: {in_words(error)}"
            return
        if tried.has_failed:
            self.findings.append((tried, self._finding(tried, _sentence(tried, (HELD,)), (HELD,), ("the event",))))

    def _try_keys(self) -> None:
        """Send pairs of events whose keys hardly differ. Both must be stored."""
        if ShapeKind.KEYS not in self.profile.scenarios.shapes.kinds:
            return
        for pair in KEY_PAIRS:
            if not self.session.allows(pair) or self.session.left < 2:
                continue
            tried = self.session.try_pair(pair)
            words = pair.words
            if tried.has_failed:
                finding = self._finding(tried, _sentence(tried, (words,)), (words,), ("the key",))
                self.findings.append((tried, finding))
            elif tried.outcome is not ShapeOutcome.STORED:
                self.left_out[f"{self.route.route.name}: {words}"] = (
                    f"such a key is {tried.outcome}" if pair.is_judged else _ONE_OF_TWO
                )

    def _finding(
        self, tried: TriedEvent, sentence: str, changes: tuple[str, ...], fields: tuple[str, ...]
    ) -> ShapeFinding:
        """A finding that took no request to shrink."""
        route, key = self.route.route.name, tried.request.key
        return ShapeFinding(route, tried.outcome, sentence, changes, 1, fields, 0, True, key, ", ".join(changes))

    def _find_free_fields(self) -> list[EventField]:
        """The fields that may be anything: another plain value in them is stored."""
        fields = list(self.route.fields)
        if self.route.is_object:
            fields.append(EventField((EXTRA,), FieldRole.TEXT))
        tried = self.session.try_all([(control_of(each),) for each in fields], are_controls=True)
        self._shrink(tried)
        free = []
        for each, result in zip(fields, tried, strict=False):
            if result.outcome is ShapeOutcome.STORED:
                free.append(each)
            elif not result.has_failed or result.outcome is ShapeOutcome.LOST:
                self.left_out[f"{self.route.route.name}: {each.name}"] = f"another plain value is {result.outcome}"
        return free

    def _alone(self, fields: Sequence[EventField]) -> Iterator[Change]:
        allowed = self.profile.scenarios.shapes.kinds
        own = [each for each in fields if each.path != (EXTRA,)]
        changes = [change for each in fields for change in changes_of(each)]
        if self.route.is_object:
            numbers = [each for each in own if each.role in (FieldRole.INTEGER, FieldRole.DECIMAL)]
            changes += whole_changes(numbers)
            changes += [change for path, items in self.route.lists for change in changes_of_list(path, items)]
        yield from (change for change in changes if change.kind in allowed)

    def _try_largest(self, tried: Sequence[TriedEvent]) -> None:
        """Where a service refuses what is too large: the largest that it accepts, which it may cut or round."""
        for change, least, most in _limits_of(tried):

            def is_accepted(size: int, change: Change = change) -> bool:
                one = self.session.try_one((change.at_size(size),))
                self._shrink([one])
                return one.outcome not in _REFUSED

            try:
                find_most(least, most, is_accepted, 0.0 if change.kind is ShapeKind.TEXTS else _LARGEST_SHARE)
            except OutOfRequests:
                self.left_out[f"{self.route.route.name}: {change.field}"] = (
                    "no requests were left to look for the largest value that is accepted"
                )

    def _shrink(self, tried: Iterable[TriedEvent]) -> None:
        """Shrink each failure that no earlier one explains."""
        for each in tried:
            is_new = each.has_failed and not self._is_explained(each) and not self._is_plain(each)
            if is_new and len(self.findings) < _FINDINGS_MOST:
                self._shrink_one(each)

    def _is_plain(self, failed: TriedEvent) -> bool:
        """Whether a plain event with the same amount and time is altered, too: it is not the shape then."""
        if failed.outcome is not ShapeOutcome.ALTERED:
            return False
        try:
            plain = self.session.try_plain(failed)
        except OutOfRequests:
            return False
        if plain is None or plain.failure != failed.failure:
            return False
        self._add_plain(plain)
        return True

    def _add_plain(self, plain: TriedEvent) -> None:
        """One finding for all that fails with nothing unusual in it."""
        for at, (smallest, finding) in enumerate(self.findings):
            if finding.changes == (_PLAIN,):
                self.findings[at] = smallest, replace(finding, events=finding.events + 1)
                return
        self.findings.append((plain, self._finding(plain, _sentence(plain, (_PLAIN,)), (_PLAIN,), ("the event",))))

    def _is_explained(self, tried: TriedEvent) -> bool:
        for at, (smallest, finding) in enumerate(self.findings):
            if (
                smallest.changes
                and smallest.failure == tried.failure
                and (
                    tried.outcome is ShapeOutcome.DISBELIEVED  # one check of signatures, whatever the shape
                    or all(any(own.covers(other) for other in tried.changes) for own in smallest.changes)
                )
            ):
                fields = tuple(dict.fromkeys([*finding.fields, *(change.field for change in tried.changes)]))
                fields = fields if len(tried.changes) == 1 else finding.fields
                self.findings[at] = smallest, replace(finding, events=finding.events + 1, fields=fields)
                return True
        return False

    def _shrink_one(self, failed: TriedEvent) -> None:
        smallest, begun = failed, self.session.used

        def fails(changes: Changes) -> bool:
            nonlocal smallest
            if self.session.used - begun >= _EACH_MOST:
                raise OutOfRequests
            tried = self.session.try_one(changes)
            if tried.failure == failed.failure:
                smallest = tried
            return tried.failure == failed.failure

        shrinker = Shrinker(failed.changes, fails)
        shrinker.shrink()
        changes = tuple(_words(change, is_least=shrinker.is_smallest) for change in smallest.changes)
        fields = tuple(dict.fromkeys(change.field for change in smallest.changes))
        finding = replace(
            self._finding(smallest, _sentence(smallest, changes), changes, fields),
            requests=self.session.used - begun,
            is_smallest=shrinker.is_smallest,
            first=", ".join(change.words for change in failed.changes),
        )
        self.findings.append((smallest, finding))


def _join_large(findings: Iterable[_Finding]) -> list[_Finding]:
    """Where values of several kinds are too large at one length of the body, it is the body that is too large."""
    groups: list[list[_Finding]] = []
    for each in findings:
        like = next((group for group in groups if _is_body_too_large(group[0], each)), None)
        if like is None:
            groups.append([each])
        else:
            like.append(each)
    return [_join(group) if len(group) > 1 else group[0] for group in groups]


def _is_body_too_large(one: _Finding, other: _Finding) -> bool:
    """Whether two values of other kinds fail alike from one length of the body on."""
    tried, lengths = (one[0], other[0]), (len(one[0].request.body), len(other[0].request.body))
    return (
        tried[0].failure == tried[1].failure
        and all(len(each.changes) == 1 and each.changes[0].makes_body_large for each in tried)
        and abs(lengths[0] - lengths[1]) <= _LENGTH_ALIKE
    )


def _join(group: Sequence[_Finding]) -> _Finding:
    smallest, finding = min(group, key=lambda each: len(each[0].request.body))
    what = f"a request body of {len(smallest.request.body):,} bytes or more (as where {{}})"
    others = "; ".join(change for _, each in group for change in each.changes)
    return smallest, replace(
        finding,
        sentence=_sentence(smallest, (what.format(others),)),
        events=sum(each.events for _, each in group),
        fields=tuple(dict.fromkeys(name for _, each in group for name in each.fields)),
        requests=sum(each.requests for _, each in group),
    )


def _words(change: Change, *, is_least: bool) -> str:
    return change.least_words if is_least else change.words


def _sentence(tried: TriedEvent, changes: Sequence[str]) -> str:
    """What happens to which events."""
    what = " and ".join(changes)
    if tried.outcome is ShapeOutcome.ERROR:
        return f"{what}: is answered {tried.response.status}"
    if tried.outcome is ShapeOutcome.ALTERED:
        return f"{what}: is stored altered: {shorten(tried.detail, 200)}"
    said = f" ({tried.detail})" if tried.outcome in _EXPLAINED else ""
    return f"{what}: {_VERBS[tried.outcome]}{said}"


def _limits_of(tried: Iterable[TriedEvent]) -> Iterator[tuple[Change, int, int]]:
    """Each value of the event's own fields that may be too large, with a size that is accepted and one that is not."""
    found: dict[tuple[str, str], list[TriedEvent]] = {}
    for each in tried:
        change = each.changes[0]
        if change.growth is not None and change.kind in (ShapeKind.TEXTS, ShapeKind.NUMBERS):
            found.setdefault((change.field, change.growth.name), []).append(each)
    for events in found.values():
        refused = [each.changes[0] for each in events if each.outcome in _REFUSED]
        stored = [each.changes[0].size for each in events if each.outcome is ShapeOutcome.STORED]
        if refused and refused[0].path != (EXTRA,):
            smallest = min(refused, key=lambda change: change.size)
            yield smallest, max((size for size in stored if size < smallest.size), default=1), smallest.size


def _choose(changes: Sequence[Change], most: int, chooser: random.Random) -> list[Changes]:
    """As many as may be sent: each shape in one field first, then in the others."""
    by_name: dict[tuple[object, ...], list[Change]] = {}
    for change in chooser.sample(changes, len(changes)):
        by_name.setdefault((change.kind, change.name, change.growth, change.size), []).append(change)
    turns = max(map(len, by_name.values()), default=0)
    ordered = [own[turn] for turn in range(turns) for own in by_name.values() if turn < len(own)]
    return [(change,) for change in ordered[:most]]


def _combine(changes: Sequence[Change], most: int, chooser: random.Random) -> list[Changes]:
    """Several changes in one event, each in a field of its own."""
    together: list[Changes] = []
    for _ in range(most if len(changes) > 1 else 0):
        chosen: dict[str, Change] = {}
        for change in chooser.sample(changes, min(len(changes), _TOGETHER_MOST)):
            chosen.setdefault(change.field, change)
        together.append(tuple(chosen.values()))
    return [each for each in together if len(each) > 1]
