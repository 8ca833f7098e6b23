"""What each scenario is, in one sentence, for people who read a report and no document."""

from __future__ import annotations

from collections.abc import Mapping

SCENARIOS: Mapping[str, str] = {
    "S1": "replays: one signed event, sent many times at once; it may leave one row",
    "S2": "unique events: each must leave its row",
    "S3": "malformed bodies: each is refused or set aside as a dead letter, as the profile says",
    "S4": "personal data: it may be nowhere in tables and logs, or only where the profile allows it",
    "S5": "one key for two tenants: each tenant must have its own row",
    "S6": "all of these mixed: unique and repeated, good and malformed",
    "S7": "truncated JSON",
    "S8": "performance: 10,000 events in under 10 s, unless the profile says otherwise; the median trial counts",
    "S9": "channels: each alias leads to its channel",
    "S10": "the shape of real traffic",
    "S11": "chaos: every event is stored exactly once while processes, database and network fail",
    "forged": "requests with a wrong, missing or stale signature among valid ones; none may be let in",
    "conflict": "the key of an earlier event with another body; it is answered as the profile says",
    "capacity": "steps of a search for the highest rate; each sends at a constant rate for some seconds",
    "sustained": "a constant rate, whatever the answers do; response time counts from when a request was due",
    "warm-up": "the first requests, which no gate of time counts",
}
