"""From a failing gate to its requests, their answers, their rows and their lines in logs.

Everything comes from the pack. Bodies are made again from the seed; they hold no secret, and personal values are
blanked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from typing import Any

import pandas as pd
from pydantic import ValidationError

from rig.checks.aftermath import was_broken
from rig.checks.chaos import DURABLE, find_failed_attempts, find_lost_by_crashes
from rig.errors import RigError
from rig.evidence.case import Case
from rig.evidence.chaos import S11
from rig.evidence.echoes import Echoes
from rig.evidence.gate import Gate, Verdict
from rig.evidence.history import find_causes_of_loss, has_failed, was_let_in
from rig.evidence.judgement import OF_SPEED, Judgement
from rig.evidence.pack import DISCREPANCIES, ECHOES, SHAPED_EVENTS, Pack
from rig.evidence.shapes import GATES_OF_SHAPES, ShapeFinding, ShapesReport
from rig.evidence.truth import Discrepancy, DiscrepancyKind
from rig.model import Outcome, RunKey, Scenario, Tenant
from rig.profile import Profile
from rig.report.shown import GateShown, RequestShown, SmallestEvent
from rig.requests.canary import CANARY_PATTERN
from rig.requests.sender import Credentials, made_up
from rig.requests.targeter import Targeter, Targets
from rig.run.other_key import guess_other_key
from rig.stats import response_ms

EXAMPLES = 3
_BODY_MOST = 2_048
_LOG_LINES = 5
_GATES = 10
"""So many failing gates have examples in the report."""
_LINE_MOST = 500
_LINE_BYTES = 1 << 20
_CLOSED = "the server closes it after such an answer and does not say so (Connection: close)"
_OWN_KINDS = {
    "forged": {DiscrepancyKind.FORGED},
    "copies": {DiscrepancyKind.COPY},
    "duplicates": {DiscrepancyKind.DUPLICATED},
    "content": {DiscrepancyKind.ALTERED},
    "lasting": {DiscrepancyKind.VANISHED, DiscrepancyKind.CHANGED},
}
"""Discrepancies by the gate that they belong to, or by the last word of its name."""
_OF_ROWS = set(DiscrepancyKind).difference({DiscrepancyKind.RECOVERED}, *_OWN_KINDS.values()) | {
    DiscrepancyKind.DUPLICATED
}
"""All others belong to the gates that count rows."""
_KINDS = _OWN_KINDS | {
    "rows": _OF_ROWS,
    "totals": _OF_ROWS,
    "exactly_once": _OF_ROWS | {DiscrepancyKind.ALTERED},
    "durable": {DiscrepancyKind.LOST},
}


def read_failing_gates(pack: Pack, case: Case, judgement: Judgement) -> tuple[GateShown, ...]:
    """The gates of a pack that are FAIL or INVALID, with examples for the first of them."""
    gates = judgement.having(Verdict.FAIL, Verdict.INVALID)
    try:
        finder = RequestFinder(pack, case)
        shown = leave_repeats_out([finder.find_examples(gate) for gate in gates[:_GATES]])
    except RigError:  # such as a sender's module that is not there: the verdict stands without examples
        shown = ()
    return shown + tuple(GateShown(gate) for gate in gates[len(shown) :])


def leave_repeats_out(pages: Sequence[GateShown]) -> tuple[GateShown, ...]:
    """The same without requests that another gate shows; ``totals``, which knows least of them, gives way to all."""
    seen: dict[tuple[str, int], str] = {}
    left = {}
    for page in sorted(pages, key=lambda page: page.gate.id == "totals"):
        requests = [(each.scenario_run, each.seq) for each in page.examples]
        others = {seen.get(each) for each in requests}
        if len(others) == 1 and (other := others.pop()):
            left[page.gate.id] = replace(page, examples=(), named=(f"the same requests as under {other}",))
        seen.update((each, page.gate.id) for each in requests if each not in seen)
    return tuple(left.get(page.gate.id, page) for page in pages)


class RequestFinder:
    """Finds requests in a pack: those of a key, or the first that show why a gate failed."""

    def __init__(self, pack: Pack, case: Case | None = None) -> None:
        self._pack = pack
        self._case: Case = pack.load() if case is None else case
        self._manifest = pack.manifest()
        self._scenarios: dict[str, Scenario] = {run.scenario.label: run.scenario for run in self._case.scenario_runs}
        self._bound: dict[str, Targets] = {}
        self._source = _source(pack)
        if self._source is None:
            self._scenarios.clear()  # its requests cannot be made again

    def find_examples(self, gate: Gate) -> GateShown:
        """A gate with its first examples."""
        family, _, last = gate.id.rpartition(".")
        if gate.id in GATES_OF_SHAPES and self._case.shapes is not None:
            return self._show_shapes(gate, self._case.shapes)
        if gate.id.startswith("privacy"):
            echoes = self._case.echoes or Echoes()
            said = {"answers": echoes.in_answers, "metrics": echoes.in_metrics}
            hits = said.get(last, [hit for hit in self._truth_hits() if hit.in_log is (last == "logs")])
            named = tuple(f"{hit.place}: {hit.what} of {hit.request}" for hit in hits[:EXAMPLES])
            file = ECHOES if last in said else "truth/report.json"
            return GateShown(gate, (), named, f"{file} has all {len(hits):,}" if hits else "")
        found = [each for each in self._discrepancies() if _is_of(each, family, last)]
        if gate.id == DURABLE.pattern:
            lost = set(find_lost_by_crashes(self._case))
            found = [each for each in found if each.key in lost]
        if found:
            first = found[:EXAMPLES]
            examples = tuple(example for each in first for example in self._show_event(each))
            rest = f"{DISCREPANCIES} has all {len(found):,}" if len(found) > EXAMPLES else ""
            named = tuple(f"{each.kind} {each.key} (tenant {each.tenant}): {each.detail}" for each in first)
            hint = self._guess_other_key(found, examples)
            return GateShown(gate, examples, named if len(examples) < len(first) else (), rest, hint)
        if last == "late":
            keys = [str(key) for key in gate.figures.get("keys", ())][:EXAMPLES]
            return GateShown(gate, tuple(example for key in keys for example in self._show_late(key, family)))
        if last in ("answers", "forged", "bodies"):
            return self._show_answers(gate, family)
        if family == S11:
            return self._show_first_of_each(gate, find_failed_attempts(self._case, gate.id))
        if last in OF_SPEED:
            return self._show_slowest(gate, family)
        return GateShown(gate)

    def _guess_other_key(self, found: Sequence[Discrepancy], examples: Sequence[RequestShown]) -> str:
        """That keys are lost may be because others are stored: what these may have been made of."""
        others = {each.key for each in self._discrepancies() if each.kind is DiscrepancyKind.UNEXPECTED and each.key}
        if not others or not any(each.kind is DiscrepancyKind.LOST for each in found):
            return ""
        for example in examples:
            if words := guess_other_key({"the key": example.key, **_top_values(example.body)}, others):
                return f"the service stores another key: {words}, perhaps (such as {min(others)})"
        return f"{len(others)} rows have keys that nobody sent (such as {min(others)}): does the service make its own?"

    def _show_answers(self, gate: Gate, scenario: str) -> GateShown:
        rows = self._case.history
        if scenario:
            rows = rows[rows["scenario"] == scenario]
        rows = rows[was_let_in(rows) if gate.id == "forged" else has_failed(rows)]
        if scenario == S11:
            rows = rows[~was_broken(self._case, rows)]  # the rig's own faults excuse the others
        return self._show_first_of_each(gate, rows)

    def _show_first_of_each(self, gate: Gate, rows: pd.DataFrame) -> GateShown:
        """Failed requests, those first that show another status or error than the ones before."""
        rows = rows[rows["scenario_run"].isin(list(self._scenarios))]
        rows = rows[~rows.index.isin(self._causes.index)]  # they are told with their cause
        first_of_each = rows.drop_duplicates(["status", "error_kind"])
        return self._show_rows(gate, rows.loc[first_of_each.index.union(rows.index, sort=False)])

    def _show_slowest(self, gate: Gate, scenario: str) -> GateShown:
        """The requests of a scenario that took longest, since they were due; one without an answer first."""
        rows = self._case.history
        rows = rows[(rows["scenario"] == scenario) & rows["scenario_run"].isin(list(self._scenarios))]
        slowest = pd.Series(response_ms(rows), rows.index).sort_values(ascending=False, kind="stable")
        return self._show_rows(gate, rows.loc[slowest.index])

    def _show_rows(self, gate: Gate, rows: pd.DataFrame) -> GateShown:
        rest = f"history/ has all {len(rows):,}" if len(rows) > EXAMPLES else ""
        return GateShown(gate, tuple(self._show_row(row) for row in _records(rows.head(EXAMPLES))), (), rest)

    @cached_property
    def _causes(self) -> pd.Series[int]:
        return find_causes_of_loss(self._case.history)

    def _say_cause(self, index: int) -> str:
        """That a request was lost because of the one before it on its connection; empty where it was not."""
        if index not in self._causes.index:
            return ""
        (error,) = _records(self._case.history.loc[[self._causes[index]]])
        key = self._targets(str(error.scenario_run)).key(int(error.seq))
        return f"answer {error.status} to request {error.seq} (key {key}) before it on its connection: {_CLOSED}"

    def _say_consequence(self, index: int) -> str:
        """That the next request on the connection was lost because of this one; empty where it was not."""
        lost = self._causes.index[self._causes == index]
        seqs = self._case.history.loc[lost, "seq"]
        return f"request {seqs.iloc[0]} on the same connection was lost: {_CLOSED}" if len(seqs) else ""

    def _truth_hits(self) -> Sequence[Any]:
        return self._case.truth.canary_hits if self._case.truth else ()

    def _discrepancies(self) -> Sequence[Discrepancy]:
        return self._case.truth.discrepancies if self._case.truth else ()

    def find_requests(self, word: str, scenario_run: str | None = None) -> Iterator[RequestShown]:
        """Every request with this key or correlation id."""
        for label in self._scenarios if scenario_run is None else [scenario_run]:
            if label not in self._scenarios:
                continue
            yield from map(self._show_row, _records(self._attempts(label, word)))

    def _show_event(self, found: Discrepancy) -> Iterator[RequestShown]:
        """The attempt that acknowledged an event first; of one that was never acknowledged the first."""
        if found.scenario_run in self._scenarios:
            rows = self._attempts(found.scenario_run, found.key)
            own = rows[rows["tenant"] == found.tenant]  # tenants may share a key
            rows = rows if own.empty else own
            good = rows[rows["outcome"] == Outcome.ACKNOWLEDGED].sort_values("done_ns")
            yield from map(self._show_row, _records((rows if good.empty else good).head(1)))

    def _show_late(self, key: str, scenario: str) -> Iterator[RequestShown]:
        """The request whose row came after its answer."""
        labels = [label for label, each in self._scenarios.items() if each.id == scenario]
        yield from islice((example for label in labels for example in self.find_requests(key, label)), 1)

    def _attempts(self, label: str, word: str) -> pd.DataFrame:
        """The requests of a scenario run with this key or correlation id, in the order in which they were sent."""
        targets = self._targets(label)
        at = [seq for seq in range(targets.scenario.count) if word in (targets.key(seq), targets.correlation(seq))]
        rows = self._case.history
        return rows[(rows["scenario_run"] == label) & rows["seq"].isin(at)].sort_values("sent_ns")

    def _number_attempt(self, label: str, seq: int, attempt: int) -> str:
        rows = self._case.history
        attempts = rows.loc[(rows["scenario_run"] == label) & (rows["seq"] == seq), "attempt"].max()
        return f"{attempt} of {attempts}" if attempts > 1 else ""

    def _targets(self, label: str) -> Targets:
        if label not in self._bound:
            assert self._source is not None
            profile, key = self._source
            scenario = self._scenarios[label]
            ids = {tenant.name: tenant for tenant in self._manifest.tenants}
            given = {name: _credentials(profile, ids.get(name, Tenant(name, name))) for name in scenario.tenants}
            self._bound[label] = Targeter(profile, key).bind(scenario, given)
        return self._bound[label]

    def _show_row(self, row: Any) -> RequestShown:
        label, seq = str(row.scenario_run), int(row.seq)
        targets = self._targets(label)
        key, correlation = targets.key(seq), self._correlation(targets, seq)
        sent_ns = row.sent_ns or row.intended_ns
        chaos = self._case.chaos if row.scenario == S11 else None
        answers = (each.body for each in self._case.examples if each.scenario_run == label and each.key == key)
        return RequestShown(
            scenario_run=label,
            seq=seq,
            tenant=str(row.tenant) if self._has_tenants else "",
            request_class=str(row.class_),
            key=key,
            correlation=correlation,
            sent_s=(sent_ns - self._case.epoch_monotonic_ns) / 1e9,
            took_ms=max(0, row.done_ns - sent_ns) / 1e6,
            status=int(row.status),
            outcome=str(row.outcome),
            error_kind="" if row.error_kind == "none" else str(row.error_kind),
            body=_body(targets, seq),
            answer=next(answers, "")[:_BODY_MOST],
            rows=tuple(
                f"{each.kind}: {each.detail or 'see the rule of the gate'}"
                for each in self._discrepancies()
                if each.key == key and each.scenario_run == label
                if each.tenant == row.tenant or not self._scenarios[label].shared_key
            ),
            waited_ms=max(0, sent_ns - row.intended_ns) / 1e6,
            cause=self._say_cause(row.Index),
            then=self._say_consequence(row.Index),
            attempt=self._number_attempt(label, seq, row.attempt),
            fault=chaos.describe_moment(sent_ns, row.done_ns) if chaos else "",
            logs=tuple(islice(self._log_lines(filter(None, (key, correlation))), _LOG_LINES)),
        )

    def _correlation(self, targets: Targets, seq: int) -> str:
        """The request's correlation id; empty where none was sent."""
        assert self._source is not None
        profile = self._source[0]
        route = profile.route(targets.scenario.route)
        return targets.correlation(seq) if route.hook or profile.sends_correlation(route) else ""

    @property
    def _has_tenants(self) -> bool:
        return any(tenant.id for tenant in self._manifest.tenants)

    def _log_lines(self, words: Iterable[str]) -> Iterator[str]:
        wanted = {form.encode() for word in words for form in (word, word.replace("-", ""))}  # <key> and <event>
        for file in sorted(self._pack.logs_folder.glob("*.log")):
            with file.open("rb") as log:
                # A line of a log may be of any length: a longer one counts as several.
                for number, line in enumerate(iter(partial(log.readline, _LINE_BYTES), b""), 1):
                    if any(word in line for word in wanted):
                        text = line.decode(errors="replace").rstrip()[:_LINE_MOST]
                        yield f"logs/{file.name}:{number}: {text}"

    def _show_shapes(self, gate: Gate, report: ShapesReport) -> GateShown:
        """What was shrunk for a gate of S10: what happens, to how many events, and how to send the smallest again."""
        found = [each for each in report.findings if each.outcome in GATES_OF_SHAPES[gate.id]]
        events = {each.key: each for each in report.events}
        smallest = tuple(
            SmallestEvent(
                each.sentence,
                _describe_events(each),
                each.command,
                f"{event.status}: {event.detail}" if (event := events.get(each.key)) and event.status else "",
                tuple(islice(self._log_lines((each.key,)), _LOG_LINES)),
            )
            for each in found
        )
        return GateShown(gate, rest=f"{SHAPED_EVENTS} has every event", smallest=smallest)


def _describe_events(found: ShapeFinding) -> str:
    events = f"{found.events} event{'s' if found.events != 1 else ''}, in {', '.join(found.fields)}"
    shrunk = f"; shrunk with {found.requests} requests" if found.requests else ""
    return f"{events}{shrunk}; key {found.key}"


def _source(pack: Pack) -> tuple[Profile, RunKey] | None:
    """What the requests of a run are made of again; None for a pack of an older rig, or of a verb that sent nothing."""
    manifest = pack.manifest()
    try:
        profile = Profile.model_validate(manifest.profile)
    except ValidationError:
        return None
    return None if manifest.key is None else (profile, manifest.key)


def _is_of(found: Discrepancy, family: str, last: str) -> bool:
    """Whether a discrepancy belongs to the gate ``family.last``, or to the gate ``last``."""
    if family and found.scenario != family:
        return False
    return found.kind in _KINDS.get(last, ())


def _records(rows: pd.DataFrame) -> Iterator[Any]:
    return rows.rename(columns={"class": "class_"}).itertuples()


def _credentials(profile: Profile, tenant: Tenant) -> Credentials:
    secrets = made_up(profile, tenant.name)
    return Credentials(secrets.api_key, secrets.secrets, tenant.id)


def _body(targets: Targets, seq: int) -> str:
    body = targets.body(seq, 0).decode(errors="replace")
    return re.sub(CANARY_PATTERN, "[personal]", body)[:_BODY_MOST]


def _top_values(body: str) -> dict[str, str]:
    """The texts on top of a JSON object, by their quoted name; empty where the body is none."""
    try:
        event = json.loads(body)
    except ValueError:
        return {}
    return (
        {f"`{name}`": value for name, value in event.items() if isinstance(value, str)}
        if isinstance(event, dict)
        else {}
    )
