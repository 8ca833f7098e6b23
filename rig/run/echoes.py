"""The step that listens: what does the target say to requests with personal data, and in its metrics afterwards?

Flow: once the rows were read, each route gets a few requests with personal data, one after another; the head and the
body of each answer are searched as logs are (``rig.truth.spellings``). Then the metrics are asked for, and searched for
the values of all requests of the run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rig.evidence.echoes import Echoes
from rig.evidence.truth import CanaryHit
from rig.model import Pace, RequestClass, Scenario, Share
from rig.profile import WebhookRoute
from rig.requests.targeter import Targeter
from rig.run.open_run import OpenRun
from rig.target.http_probe import HttpProbe, ProbeResponse
from rig.target.launch import LiveTarget
from rig.target.tenants import Tenancy
from rig.truth.expected import RequestIndex
from rig.truth.spellings import tokens_in

_TIMES = 2
"""How often each kind of body is sent."""
_METRICS_ASKED = 5
"""So often the metrics are asked for: of several processes each may answer for itself."""


def listen(run: OpenRun, target: LiveTarget, tenancy: Tenancy) -> None:
    """Send the requests, search what is said, and write what came of it into the pack."""
    profile, sent = run.job.profile, [each for each in run.job.scenarios if _is_personal(each)]
    if not sent:
        return
    routes = {each.route: each.tenants[0] for each in reversed(sent)}
    scenarios = tuple(_scenario(profile.route(name), tenant) for name, tenant in routes.items())
    run.record.pack.write_echoes(Echoes(scenarios))
    targeter, probe = Targeter(profile, run.key, target.endpoint.address), HttpProbe(target.endpoint, 10.0)
    index = RequestIndex(targeter, [*run.job.scenarios, *scenarios])
    found = Echoes(scenarios)
    for scenario in scenarios:
        targets = targeter.bind(scenario, tenancy.credentials)
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
        texts = [probe.get(profile.probes.metrics) for _ in range(_METRICS_ASKED)]
        hits = tuple(dict.fromkeys(search_responses(texts, index, f"the metrics ({profile.probes.metrics})")))
        longest = max(len(each.body) if each.is_good else 0 for each in texts)
        found = replace(found, metrics_bytes=longest, in_metrics=hits)
    run.record.pack.write_echoes(found)


def _is_personal(scenario: Scenario) -> bool:
    return any(share.request_class is RequestClass.PERSONAL for share in scenario.shares)


def _scenario(route: WebhookRoute, tenant: str) -> Scenario:
    count = _TIMES * route.variants(RequestClass.PERSONAL)
    return Scenario(
        "echoes", "Echoes", count, route.name, (tenant,), (Share(RequestClass.PERSONAL, count),), Pace(connections=1)
    )


def search_responses(responses: Sequence[ProbeResponse], index: RequestIndex, where: str) -> Iterator[CanaryHit]:
    """The canaries of this run in answers, each with its place."""
    for response in responses:
        head = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        for part, text in (("head", head.encode()), ("body", response.body)):
            for token, spelling in tokens_in(text).items():
                if (request := index.by_canary(token)) is not None:
                    what = f"value {token}{f' ({spelling})' if spelling else ''}"
                    yield CanaryHit(f"the {part} of {where}", False, what, request)
