"""The step that listens: does any answer, or do the metrics, hold personal data that was sent?

Flow: the answers that the workers kept of the load (``rig.engine.bodies``) are searched as logs are, and so is what the
prober read of the metrics meanwhile. Once the rows were read, each route gets a few requests with personal data, one
after another, and the metrics are asked for again. All of it is searched for the values of all requests of the run, in
all spellings of ``rig.truth.spellings``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from rig.evidence.echoes import Echoes
from rig.evidence.truth import CanaryHit
from rig.model import Pace, RequestClass, Scenario, Share
from rig.profile import WebhookRoute
from rig.requests.targeter import Targeter
from rig.run.live_run import LiveRun
from rig.target.http_probe import HttpProbe, ProbeResponse
from rig.truth.canaries import HITS_MAX
from rig.truth.expected import RequestIndex
from rig.truth.logs import suspicious_texts
from rig.truth.spellings import tokens_in

_TIMES = 2
"""How often each kind of body is sent."""
_METRICS_ASKED = 20
"""So often the metrics are asked for: of several processes each may answer for itself."""


def listen(run: LiveRun, metrics: Iterable[ProbeResponse] = ()) -> None:
    """Send the requests, search what was and is said, and write what came of it into the pack.

    ``metrics``: what the metrics were while the load was sent.
    """
    profile, sent = run.job.profile, [each for each in run.job.scenarios if each.sends_personal_data]
    if not sent:
        return
    routes = {each.route: each.tenants[0] for each in reversed(sent)}
    scenarios = tuple(_scenario(profile.route(name), tenant) for name, tenant in routes.items())
    run.record.pack.write_echoes(Echoes(scenarios))
    endpoint = run.target.endpoint
    targeter, probe = Targeter(profile, run.key, endpoint.address), HttpProbe(endpoint, 10.0)
    index = RequestIndex(targeter, [*run.job.scenarios, *scenarios])
    found = Echoes(scenarios)
    for scenario in sent:
        answers = list(run.record.history.take_answers(scenario))
        hits = search_answers(answers, index, f"an answer of {scenario.label}")
        room = HITS_MAX - len(found.in_answers)
        found = replace(
            found, of_load=found.of_load + len(answers), in_answers=(*found.in_answers, *islice(hits, room))
        )
    for scenario in scenarios:
        targets = targeter.bind(scenario, run.tenancy.credentials)
        right = profile.answer(RequestClass.PERSONAL, scenario.route).right
        where = f"an answer of route {scenario.route}"
        responses = [probe.send(targets.request(seq, time.time())) for seq in range(scenario.count)]
        found = replace(
            found,
            answers=found.answers + sum(bool(each.status) for each in responses),
            right=found.right + sum(each.status in right for each in responses),
            in_answers=(*found.in_answers, *search_responses(responses, index, where)),
        )
    if profile.probes.metrics is not None:
        texts = [*metrics, *(probe.get(profile.probes.metrics) for _ in range(_METRICS_ASKED))]
        hits = search_responses(texts, index, f"the metrics ({profile.probes.metrics})")
        answered = [each for each in texts if each.is_good]
        longest = max((len(each.body) for each in answered), default=0)
        in_metrics = tuple(islice(dict.fromkeys(hits), HITS_MAX))
        found = replace(found, metrics_bytes=longest, in_metrics=in_metrics, metrics=len(answered))
    run.record.pack.write_echoes(found)


def _scenario(route: WebhookRoute, tenant: str) -> Scenario:
    count = _TIMES * route.variants(RequestClass.PERSONAL)
    return Scenario(
        "echoes", "Echoes", count, route.name, (tenant,), (Share(RequestClass.PERSONAL, count),), Pace(connections=1)
    )


def search_answers(answers: Iterable[bytes], index: RequestIndex, where: str) -> Iterator[CanaryHit]:
    """The canaries of this run in whole answers."""
    for answer in suspicious_texts(answers):
        head, _, body = answer.partition(b"\r\n\r\n")
        yield from _search(head, body, index, where)


def search_responses(responses: Iterable[ProbeResponse], index: RequestIndex, where: str) -> Iterator[CanaryHit]:
    """The canaries of this run in answers, each with its place."""
    for response in responses:
        head = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        yield from _search(head.encode(), response.body, index, where)


def _search(head: bytes, body: bytes, index: RequestIndex, where: str) -> Iterator[CanaryHit]:
    for part, text in (("head", head), ("body", body)):
        for token, spelling in tokens_in(text).items():
            if (request := index.by_canary(token)) is not None:
                what = f"value {token}{f' ({spelling})' if spelling else ''}"
                yield CanaryHit(f"the {part} of {where}", False, what, request)
