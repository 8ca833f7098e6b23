"""Every defect that ``rig prove`` injects: one value each, with its stage, what it does, and the gates it turns red.

A new defect is one entry here. What it does is a function of ``rig.selftest.injections`` (a switch of the service, a
fault of the instrument) or of ``rig.selftest.pack_changes`` (a fault of the evidence). Not for storms, whose
protections are taken away one by one (``rig.selftest.weaknesses``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from rig.evidence.pack import Pack
from rig.selftest import bottlenecks, injections, pack_changes, stages
from rig.selftest.bench import Apply, PlannedRun, T, beforehand
from rig.selftest.locust_run import kill_mix_worker
from rig.selftest.stages import Defect, Questions, Stage, matches
from scenarios.ladder import IDS
from scenarios.s11 import RATE_PER_S

_CUT_OFF_S = 1.5
_STUTTER_LIMIT_MS = 60.0
_ROWS = tuple(f"{scenario}.rows" for scenario in IDS)
_CONTENT = tuple(f"{scenario}.content" for scenario in IDS if scenario not in ("S7",))
_VALID_CONTENT = ("S1.content", "S2.content")
_ANSWERS = tuple(f"{scenario}.answers" for scenario in IDS)
_PRIVACY = ("privacy.rows", "privacy.logs")
_SAMPLED = ("samplers", "samplers.database_cpu")


@beforehand
def _ask_without_samplers(questions: Questions) -> None:
    """Nobody samples: what was seeded cannot be found."""
    questions.seeds, questions.samplers = (bottlenecks.ROW_LOCK_CONVOY,), False


@beforehand
def _hide_foreign_load(questions: Questions) -> None:
    """Others take the machine of a healthy service. The diagnosis says so rightly, but nobody declared it."""
    questions.seeds = (replace(bottlenecks.HEALTHY, apply=bottlenecks.load_machine),)


def _of_service(
    name: str,
    *red: str,
    open: tuple[str, ...] = (),  # noqa: A002  # as the field
    part: str = "",
    stage: Stage[PlannedRun] = stages.LADDER,
) -> Defect[PlannedRun]:
    return Defect(name, stage, injections.switch(name), red, open=open, part=part)


_of_shapes = partial(_of_service, stage=stages.SHAPES)
_of_keeping = partial(_of_service, stage=stages.KEEPING)
_of_letting_in = partial(_of_service, stage=stages.LETTING_IN)
_of_content = partial(_of_service, stage=stages.CONTENT, part="truth")
_of_lasting = partial(_of_service, stage=stages.LASTING)


def _of_evidence(
    name: str, apply: Apply[Pack], *invalid: str, stage: Stage[Pack] = stages.EVIDENCE, **more: Any
) -> Defect[Pack]:
    """A change of a finished pack; ``more`` are other fields of ``Defect``."""
    return Defect(name, stage, apply, invalid=invalid, **more)


_ROWS_OF_CHAOS = ("totals", "duplicates", "copies", "transactions")
_OF_SOME_FAULTS = ("S11.durable", "S11.graceful", "S11.contained")
"""Gates that need certain faults: NOT-RUN without them."""


def _of_chaos(
    name: str,
    faults: tuple[tuple[str, float], ...],
    *red: str,
    open: tuple[str, ...] = (),  # noqa: A002  # as the field
    rate_per_s: float = RATE_PER_S,
    switched: str = "",
) -> Defect[PlannedRun]:
    """A defect that shows under these faults; what its ``red`` gates are about may show in others, too."""
    apply = injections.strike(*faults, switched=switched or name, rate_per_s=rate_per_s)
    gates = tuple(f"S11.{gate}" for gate in red)
    loose = (*(gate for gate in _OF_SOME_FAULTS if gate not in gates), *_ROWS_OF_CHAOS, *open)
    return Defect(name, stages.CHAOS, apply, gates, open=loose, part="chaos")


_GATES_OF_CHAOS = (
    "faults",
    "relay",
    "exactly_once",
    "durable",
    "delivered",
    "recovery",
    "bounded",
    "graceful",
    "contained",
    "clean",
)
_DEAF = ("S11.answers", "S11.delivered")
"""A service that does not come back shows in its answers, and its events are not delivered."""

DEFECTS: tuple[Defect[Any], ...] = (
    # Of few or replayed events chance decides whether one is among the forgotten.
    _of_service("ack-without-storing", "S2.rows", "S8.rows", "totals", "EG3.1", open=("S6.rows", "S9.rows")),
    _of_service("no-deduplication", "S1.rows", "S5.rows", "S6.rows", "S8.rows", "duplicates", "totals", "EG3.2"),
    _of_service("global-deduplication", "S5.rows", "totals", "EG3.2"),
    _of_service("looks-among-all-tenants", "S5.rows", "totals", "EG3.2", part="truth"),
    # Where no row is left, there is no content to compare.
    _of_service("malformed-dropped", "S3.rows", "S6.rows", "S8.rows", "totals", "EG3.3", open=("S3.content",)),
    _of_service("personal-data-dropped", "S4.rows", "S8.rows", "totals", "EG3.1", open=("S4.content",)),
    _of_service("invalid-json-dropped", "S7.rows", "totals", "EG3.3"),
    # A refused body may or may not leave a row, and a readiness probe in that second fails because of it.
    _of_service("invalid-json-500", "S7.answers", open=("S7.rows", "totals", "probes")),
    # Where nothing was acknowledged nothing had to exist; whether an error may leave a row is not what is proven here.
    _of_service(
        "stored-but-500",
        *_ANSWERS,
        "probes",
        "EG3.4",
        open=(*_ROWS, "*.late", "totals", "duplicates", "privacy.*", "S8.time", "bodies"),
    ),
    # Rows of a scenario that lasts milliseconds may have come before anybody looks. On a busy machine nobody looks
    # often enough to see 30 ms. What is answered and not stored piles up, and a ready probe may wait behind it.
    _of_service(
        "answers-before-commit",
        "S2.late",
        "S8.late",
        open=("S1.late", "S5.late", "S6.late", "S9.late", "warm-up.late", "probes"),
        stage=stages.LADDER_ALONE,
    ),
    _of_service("personal-data-kept", "privacy.rows", "EG3.1"),
    _of_service("personal-data-logged", "privacy.logs", "EG3.1"),
    _of_content("personal-data-echoed", "privacy.answers"),
    _of_content("personal-data-echoed-sometimes", "privacy.answers"),
    _of_content("personal-data-in-metrics", "privacy.metrics"),
    _of_content("personal-data-encoded", "privacy.rows", "S4.content"),
    _of_content("personal-key-respelt", "privacy.rows", "S4.content"),
    _of_content("personal-column-filled", "privacy.rows"),
    _of_service("copy-unknown-tenant", "copies"),
    _of_service("copy-other-key", "copies", "totals"),
    _of_content("copy-other-tenant", "copies", "totals"),
    _of_content("copy-no-tenant", "copies"),
    _of_content("dead-copy-other-tenant", "copies", "S4.rows"),
    # The first event of a tenant has no other before it.
    _of_service("content-of-another-event", "S2.content", "S8.content", open=("*.content",)),
    _of_service("dead-letter-emptied", "S3.content", "S4.content", "S6.content", "S8.content"),
    _of_content("amount-zero", *_VALID_CONTENT),
    _of_content("amount-off-by-one", *_VALID_CONTENT),
    _of_content("amount-float", "S2.content", open=("S1.content",)),
    _of_content("amount-hundredfold", *_VALID_CONTENT),
    _of_content("currency-wrong", *_VALID_CONTENT),
    _of_content("time-1970", *_VALID_CONTENT),
    _of_content("time-other-zone", *_VALID_CONTENT),
    _of_content("time-days", *_VALID_CONTENT),
    _of_content("external-id-changed", *_VALID_CONTENT),
    _of_content("channel-wrong", *_VALID_CONTENT),
    _of_content("payload-emptied", *_VALID_CONTENT),
    _of_content("payload-truncated", *_VALID_CONTENT),
    _of_content("payload-keys-dropped", *_VALID_CONTENT),
    _of_content("payload-normalised", *_VALID_CONTENT),
    _of_content("payload-mangled", *_VALID_CONTENT),
    _of_content("answers-long-before-commit", "S2.late", open=("S1.late",)),
    _of_content("replay-overwrites", "S1.content"),
    # The default source is an alias too, so the channel of other scenarios is wrong as well.
    _of_service("alias-not-normalised", "S9.rows", "S2.content", "S8.content", open=("*.content",)),
    _of_service("slow", "S8.time", "EG3.4", stage=stages.LONG_LADDER),
    _of_lasting("rows-deleted-later", "lasting"),
    _of_lasting("payload-overwritten-later", "lasting", part="truth"),
    _of_lasting("tenant-changed-later", "lasting", part="truth"),
    _of_letting_in("signature-unchecked", "forged"),
    _of_letting_in("signature-unchecked-sometimes", "forged", part="truth"),
    _of_letting_in("signature-may-be-empty", "forged", part="truth"),
    _of_letting_in("signature-may-be-missing", "forged", part="truth"),
    _of_letting_in("signature-never-stale", "forged", part="truth"),
    _of_letting_in("signature-of-any-tenant", "forged", part="truth"),
    _of_letting_in("signature-of-any-event", "forged", part="truth"),
    _of_letting_in("signature-without-end", "forged", part="truth"),
    _of_letting_in("forged-kept", "forged"),
    _of_letting_in("answer-contradicts", "bodies"),
    _of_letting_in("answer-other-correlation", "bodies", part="truth"),
    _of_letting_in("row-other-correlation", "S2.rows", "forged.rows", part="truth"),
    _of_shapes("large-amounts-500", "S10.answers"),
    _of_shapes("signature-over-rewritten-json", "S10.answers", part="truth"),
    _of_shapes("large-amounts-rounded", "S10.content", part="truth"),
    _of_shapes("time-hour-lost", "S10.content", part="truth"),
    _of_shapes("emoji-forgotten", "S10.rows", part="truth"),
    _of_shapes("text-composed", "S10.content"),
    _of_shapes("long-text-cut", "S10.content", part="truth"),
    Defect(
        "answers-before-commit-when-locked",
        stages.SHAPES,
        injections.switch("answers-before-commit"),
        ("S10.rows",),
        part="truth",
    ),
    _of_shapes("prefix-deduplication", "S10.keys"),
    _of_shapes("case-deduplication", "S10.keys", part="truth"),
    _of_shapes("content-deduplication", "S10.keys", part="truth"),
    _of_keeping("row-security-off", "isolation"),
    _of_keeping("row-security-not-forced", "isolation", part="truth"),
    _of_keeping("open-policy", "isolation", part="truth"),
    _of_keeping("role-owns-table", "isolation", part="truth"),
    _of_keeping("role-bypasses", "isolation", part="truth"),
    _of_keeping("unlogged-table", "durable_tables"),
    _of_keeping("transaction-never-ended", "transactions", part="truth"),
    Defect(
        "slow-when-sustained",
        stages.SUSTAINED,
        injections.switch("slow"),
        red=("sustained.p95", "sustained.degradation"),
    ),
    # What was never sent has no latency, and the history cannot say whose fault that is.
    Defect(
        "slow-and-cut-off",
        stages.SUSTAINED,
        injections.switch("slow", deadline_s=_CUT_OFF_S),
        invalid=("sustained.rate", "sustained.p95"),
        open=("sustained.rows", "sustained.answers", "sustained.degradation", "totals", "duplicates"),
    ),
    Defect(
        "throttled-client", stages.NULL, injections.stutter_client(injections.THROTTLE_S), invalid=("calibration.null",)
    ),
    Defect(
        "stuttering-calibration",
        stages.LATENCY,
        injections.stutter_client(injections.STUTTER_S),
        invalid=("calibration.ruler",),
    ),
    # The limit was missed, and the client was not there to see whether that was the target's fault.
    Defect(
        "stuttering-client",
        stages.SUSTAINED,
        injections.stutter_client(injections.STUTTER_S, p95_limit_ms=_STUTTER_LIMIT_MS),
        invalid=("sustained.p95",),
        open=("sustained.degradation",),
    ),
    Defect(
        "worker-killed",
        stages.SHORT,
        injections.kill_worker,
        invalid=("S2.rows", "S2.answers", "totals", "duplicates", "copies", "accounting", "bodies", "EG3.5"),
        open=_SAMPLED,
    ),
    Defect("sampler-killed", stages.SHORT, injections.kill_sampler, invalid=("samplers", "EG3.5")),
    Defect(
        "sampler-unborn",
        stages.SHORT,
        injections.kill_sampler_at_start,
        invalid=("samplers", "EG3.5"),
        not_run=("samplers.database_cpu",),
    ),
    Defect("process-left-behind", stages.SHORT, injections.leave_process, invalid=("hygiene", "EG3.5"), open=_SAMPLED),
    _of_evidence("row-lost", pack_changes.lose_row, "accounting", "S2.answers", "EG3.5"),
    _of_evidence("clock-too-fast", pack_changes.speed_up_clock, "littles_law", "EG3.5"),
    _of_evidence("probes-unasked", pack_changes.forget_probes, "probes"),
    _of_evidence(
        "certificate-of-another-machine",
        pack_changes.take_certificate_of_another_machine,
        *("calibration.null", "EG3.5"),
    ),
    _of_evidence("spot-check-disagrees", pack_changes.disagree_with_spot_check, "calibration.null", "EG3.5"),
    _of_evidence("run-cut-short", pack_changes.forget_end, "completion", "EG3.5"),
    _of_evidence(
        "truth-unread",
        pack_changes.forget_truth,
        *(*_ROWS, "sustained.rows", "forged.rows", *_CONTENT, "sustained.content", "forged.content", "forged"),
        *("totals", "duplicates", "copies", "isolation", "durable_tables", "lasting", "transactions", *_PRIVACY),
        *("EG3.1", "EG3.2", "EG3.3", "EG3.4"),
        open=("warm-up.*", "*.late"),
    ),
    # A checker crashes. No verdict on the target may come of that.
    _of_evidence("figures-lost", pack_changes.lose_figures, "checker.race_tests", "EG3.5"),
    Defect("diagnosis-blind", stages.DIAGNOSIS, _ask_without_samplers, red=("diagnosis.confusion",)),
    Defect("diagnosis-false-alarm", stages.DIAGNOSIS, _hide_foreign_load, red=("diagnosis.confusion",)),
    # Timing decides whether the killed worker had reported anything that is now missed.
    Defect("locust-worker-killed", stages.MIX, kill_mix_worker, invalid=("locust.reports",), open=("locust.totals",)),
    _of_chaos(
        "answers-before-commit-at-crash",
        (("service-killed", 1.0), ("service-killed", 1.0)),
        "exactly_once",
        "durable",
        switched="answers-before-commit",
    ),
    _of_chaos("deduplicates-in-memory", (("process-killed", 0.5), ("process-killed", 0.5)), "exactly_once"),
    # So slow that all events of a fault are at work when it is healed, and none waits for a connection.
    _of_chaos("looks-before-insert", (("database-held", 2.4), ("database-held", 2.4)), "exactly_once", rate_per_s=6.0),
    _of_chaos("stores-again-at-retry", (("database-mute", 2.0), ("database-mute", 2.0)), "exactly_once"),
    _of_chaos("dead-letters-in-memory", (("service-killed", 1.0), ("service-killed", 1.0)), "exactly_once", "durable"),
    _of_chaos("pool-never-recovers", (("database-held", 3.0),), "answers", "delivered", "recovery"),
    # A redelivery may wait for the row of an attempt whose transaction was left open.
    _of_chaos(
        "leaves-transactions",
        (("sender-cut", 0.5), ("sender-cut", 0.5)),
        "clean",
        open=("S11.exactly_once", "S11.bounded", *_DEAF),
    ),
    _of_chaos("hangs-with-database", (("database-half-open", 1.5),), "bounded", "recovery", open=_DEAF),
    _of_chaos("drops-at-sigterm", (("rolling-deploy", 0.5), ("rolling-deploy", 0.5)), "graceful"),
    _of_chaos(
        "accepts-unknown-commits", (("database-killed", 0.3), ("service-killed", 0.3)), "exactly_once", "durable"
    ),
    _of_chaos("takes-others-down", (("process-killed", 0.8),), "contained"),
    Defect(
        "relay-slow",
        stages.CHAOS,
        injections.slow_relay,
        invalid=("S11.relay",),
        open=(*_OF_SOME_FAULTS, *_ROWS_OF_CHAOS),
        part="chaos",
    ),
    _of_evidence(
        "faults-unrecorded",
        pack_changes.forget_faults,
        *(f"S11.{gate}" for gate in _GATES_OF_CHAOS),
        stage=stages.CHAOS_EVIDENCE,
        open=("S11.answers",),
        part="chaos",
    ),
    # A fifth of a second is too long for this limit, however few requests there are.
    Defect(
        "slow-at-any-rate",
        stages.CAPACITY,
        injections.seek_capacity("sleeps", p95_ms=100.0, step_s=1.5, limit_s=8.0),
        red=("capacity.held",),
        not_run=("capacity.bracket",),
        part="capacity",
    ),
    _of_evidence(
        "client-at-its-limit",
        pack_changes.exhaust_client,
        "capacity.bracket",
        stage=stages.CAPACITY_EVIDENCE,
        part="capacity",
    ),
    _of_evidence("locust-row-lost", pack_changes.lose_row, "locust.totals", "accounting", stage=stages.MIX_EVIDENCE),
)
"""All of them, in the order in which they are run."""

OLD_NAMES = {
    "stuttering-ruler": "stuttering-calibration",
    "crowd-worker-killed": "locust-worker-killed",
    "crowd-row-lost": "locust-row-lost",
    "history-garbled": "figures-lost",
}
"""Names of defects that are accepted until the next release, and what each is called now."""


def _healthy(name: str, stage: Stage[T], *others: str, unseen: tuple[str, ...] = ()) -> Defect[T]:
    """The healthy run of some stages. Each gate that their defects name, and the ``others``, must be green in it.

    ``unseen`` gates have nothing to see in it.
    """
    named = (
        gate
        for one in DEFECTS
        if one.stage.healthy == stage.name
        for gate in (*one.red, *one.invalid, *one.not_run, *one.open)
        if "*" not in gate and not matches(gate, _ONLY_WHEN_RED)
    )
    return Defect(name, stage, green=tuple(dict.fromkeys([*named, *others])), open=unseen)


_ONLY_WHEN_RED = ("completion", "checker.*")
"""Gates that a healthy run does not have: they are emitted only where something is wrong."""
HEALTHY = _healthy("healthy", stages.WHOLE, unseen=("S7.content",))  # a truncated body has no field
HEALTHY_DIAGNOSIS = _healthy("healthy-diagnosis", stages.DIAGNOSIS, "calibration.null", "calibration.ruler")
HEALTHY_MIX = _healthy("healthy-mix", stages.MIX)
HEALTHY_CHAOS = replace(
    _healthy("healthy-chaos", stages.CHAOS),
    apply=injections.strike(
        ("service-killed", 0.5),
        ("rolling-deploy", 0.5),
        ("database-killed", 0.3),
        ("process-killed", 0.5),
        ("database-half-open", 1.5),
        ("sender-mute", 1.0),
    ),
)
HEALTHY_CAPACITY = replace(
    _healthy("healthy-capacity", stages.CAPACITY, "capacity.rows", "totals", "accounting"),
    # Its rate is bound by a wait, so that client and machine have time to spare.
    apply=injections.seek_capacity("slow", p95_ms=500.0, step_s=1.5, limit_s=40.0, first_per_s=100.0),
)
HEALTHY_RUNS: tuple[Defect[Any], ...] = (HEALTHY, HEALTHY_DIAGNOSIS, HEALTHY_MIX, HEALTHY_CHAOS, HEALTHY_CAPACITY)


def add_healthy_runs(defects: Iterable[Defect[Any]]) -> list[Defect[Any]]:
    """Defects in their order: the whole healthy run goes first, and each stage's own before its first defect.

    Shared stages come last.
    """
    healthy = {one.stage.name: one for one in HEALTHY_RUNS}
    ordered: list[Defect[Any]] = [HEALTHY]
    for defect in sorted(defects, key=lambda one: one.stage.is_shared):
        if healthy[defect.stage.healthy] not in ordered:
            ordered.append(healthy[defect.stage.healthy])
        ordered.append(defect)
    return ordered
