"""The scenarios as user classes: what the users of a locust run send, in which proportions."""

from __future__ import annotations

from dataclasses import replace

from rig.model import RequestClass, RequestStream, UserClass

_REPLAY = RequestStream(RequestClass.REPLAY, one_key=True)

MIX = (
    UserClass("S1Replay", "S1", "ReplayStorm", 2, (_REPLAY,)),
    UserClass("S2Unique", "S2", "UniqueStorm", 6, (RequestStream(RequestClass.VALID),)),
    UserClass("S3Malformed", "S3", "MalformedStorm", 1, (RequestStream(RequestClass.MALFORMED),)),
    UserClass("S4Personal", "S4", "PIIStorm", 1, (RequestStream(RequestClass.PERSONAL),)),
    UserClass(
        "S6Mixed",
        "S6",
        "MixedStorm",
        2,
        (replace(_REPLAY, weight=7), RequestStream(RequestClass.VALID, 3), RequestStream(RequestClass.MALFORMED, 1)),
    ),
    UserClass("S7InvalidJson", "S7", "InvalidJson", 1, (RequestStream(RequestClass.INVALID_JSON),)),
)
PERF_GATE = "S8PerfGate"
"""The user class whose users share the fixed number of requests of ``scenarios.s8``."""
