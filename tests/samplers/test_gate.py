"""The gate ``samplers``: what was seen must be what was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rig.checks.samplers import check_samplers
from rig.evidence.gate import Gate, Verdict
from rig.evidence.sample_names import CLIENT_BACKEND, PG_ACTIVITY, PIDS, Role
from rig.evidence.samples import SamplerReport, Samples, with_types
from rig.report.plots import png
from rig.report.plots.timeline import timeline
from tests.checks.cases import MS, START_NS, case, driven, plan

COUNT = 5_000  # a request a millisecond: five seconds
DRIVEN = driven(plan(count=COUNT))


def sampled(first_ms: int = 0, last_ms: int = COUNT, reports: tuple[SamplerReport, ...] = (), **more: Any) -> Samples:
    """Both samplers at work from ``first_ms`` to ``last_ms`` of the drive; one session always in WalSync."""
    times = [START_NS + at * MS for at in range(first_ms, last_ms + 1, 50)]
    active = ("shop", "shop", "active", "IO", "WalSync", 1, 0.0)
    return Samples(
        ticks=with_types("ticks", [(name, at, MS, 0) for name in (PG_ACTIVITY, PIDS) for at in times]),
        sessions=with_types("sessions", [(at, 1, 0, 0, 0, 0, 0) for at in times]),
        activity=with_types("activity", [(at, 7, CLIENT_BACKEND, *active) for at in times]),
        processes=with_types("processes", [(times[0], 5, 5, 1, Role.SERVER, "python", times[0])]),
        pids=with_types(
            "pids",
            [(at, 5, Role.SERVER, n * 0.02, 0, 0, 0, 0, 0, 1, 1, 3, 0, 0, 0, "S") for n, at in enumerate(times)],
        ),
        sockets=with_types("sockets", [(times[-1], 5, 100)]),
        machine=with_types("machine", [(at, n * 0.05, 0, n * 0.05, 0, 0, 0) for n, at in enumerate(times)]),
        reports=reports or REPORTS,
        **more,
    )


REPORTS = (
    SamplerReport(name=PG_ACTIVITY, hz=20, ticks=100, wall_s=5, cpu_user_s=0.05),
    SamplerReport(name=PIDS, hz=5, ticks=25, wall_s=5, cpu_user_s=0.05, facts={"cores": 2, "postgres_found": True}),
)


def judged(samples: Samples, **settings: Any) -> Gate:
    return check_samplers(replace(case(DRIVEN), samples=samples, settings=settings))[0]


def test_whole_evidence_passes_with_a_summary_of_what_was_seen() -> None:
    gate = judged(sampled())
    assert (gate.verdict, gate.reason) == (Verdict.PASS, "")
    assert gate.figures["active_sessions_by_event"] == {"IO:WalSync": 1.0}
    assert gate.figures["cores_by_role"] == pytest.approx({Role.SERVER: 0.4, Role.OTHER: 0.6}, abs=0.01)
    assert gate.figures["server_connections"] == [100]
    assert gate.figures["cost_percent_of_a_core"] == 2.0


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (sampled(reports=REPORTS[:1]), "pids was not started"),
        (sampled(reports=(REPORTS[0], replace(REPORTS[1], failure="signal 9"))), "pids: signal 9"),
        (sampled(first_ms=2_100), "pg_activity did not look during all of the load"),
        (sampled(last_ms=COUNT - 2_100), "pg_activity did not look during all of the load"),
        (sampled(reports=(replace(REPORTS[0], missed=12), REPORTS[1])), "pg_activity left out 12 of 112 ticks"),
        (Samples(reports=REPORTS), "pg_activity looked at nothing"),
    ],
)
def test_a_dead_or_lame_sampler_is_invalid(samples: Samples, reason: str) -> None:
    gate = judged(samples)
    assert gate.verdict is Verdict.INVALID
    assert reason in gate.reason


def test_a_few_missed_ticks_are_none() -> None:
    assert judged(sampled(reports=(replace(REPORTS[0], missed=11), REPORTS[1]))).verdict is Verdict.PASS


def test_samples_that_should_be_there_and_are_not_are_invalid() -> None:
    assert judged(Samples(), samplers=True).verdict is Verdict.INVALID
    assert judged(Samples(), samplers=False).verdict is Verdict.NOT_RUN
    # Evidence of a run that knew of no samplers.
    assert check_samplers(case(DRIVEN)) == []


def test_a_database_whose_processes_cannot_be_seen_is_named() -> None:
    hidden = replace(REPORTS[1], facts={"cores": 2}, unseen=("CPU of the database: elsewhere",))
    gate = check_samplers(replace(case(DRIVEN), samples=sampled(reports=(REPORTS[0], hidden))))[1]
    assert (gate.id, gate.verdict) == ("samplers.database_cpu", Verdict.NOT_RUN)
    assert gate.reason == "CPU of the database: elsewhere"


def test_the_timeline_is_drawn_from_whatever_is_there() -> None:
    waits = [(START_NS + 900 * MS, 7, 9, 0.3, "tuple", "ExclusiveLock", "t", "", "", "active", "shop", 1.0)]
    gaps = [(PG_ACTIVITY, START_NS + 3_000 * MS, START_NS + 3_500 * MS, "the server closed the connection")]
    whole = sampled(blocking=with_types("blocking", waits), gaps=with_types("gaps", gaps))
    figure = timeline(replace(case(DRIVEN), samples=whole))
    assert figure is not None
    assert len(figure.axes) == 4
    assert "IO:WalSync (1.00)" in figure.get_suptitle()
    words = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert "longest lock wait: at least 0.3 s, ExclusiveLock on t" in words
    assert "not seen" in words
    assert png(figure) == png(timeline(replace(case(DRIVEN), samples=whole)))  # type: ignore[arg-type]
    alone = timeline(replace(case(), samples=sampled()))
    assert alone is not None
    assert len(alone.axes) == 2
    assert timeline(case(DRIVEN)) is None
    assert timeline(replace(case(DRIVEN), samples=replace(whole, pids=with_types("pids", [])))) is not None
