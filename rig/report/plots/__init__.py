"""Pictures of a run: each a pure function from the case to a figure, or None where there is nothing to draw.

Flow: ``PLOTS`` lists them in the order of the report, a module each; ``png`` renders one. Titles say what is seen in
this run, axes carry units, colours are told apart by the colour-blind and never carry meaning alone. matplotlib is
imported when the first picture is drawn, because that takes longer than most verbs do.

Not for judging: a limit that is drawn here was judged by a checker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rig.evidence.case import Case
from rig.report.plots.canvas import png
from rig.report.plots.ladder import ladder
from rig.report.plots.latency import latency
from rig.report.plots.latency_calibration import latency_calibration
from rig.report.plots.null_benchmark import null_benchmark
from rig.report.plots.s8_limit import s8_limit
from rig.report.plots.storms import storms
from rig.report.plots.throughput import throughput
from rig.report.plots.timeline import judged_storm, timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PLOTS", "Plot", "png"]


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture: ``caption`` says how to read it, ``needs`` what must have been gathered for it."""

    name: str
    title: str
    needs: str
    draw: Callable[[Case], Figure | None]
    caption: str


PLOTS: tuple[Plot, ...] = (
    Plot(
        "judged-storm",
        "The judged storms on one time axis",
        "samples beside a storm with a limit that is a part of the run",
        judged_storm,
        "From the top: answers, their times, what the sessions of the database did or waited for, who kept the cores "
        "busy. What limits a storm is what stays high while the answers stay flat.",
    ),
    Plot(
        "s8-limit",
        "S8 against its limit",
        "an S8 trial",
        s8_limit,
        "A line that reaches the height of all requests left of the limit passes. A bend is the target changing pace.",
    ),
    Plot(
        "throughput",
        "Throughput and outcomes over time",
        "a drive that sent something",
        throughput,
        "Answers by the moment they were whole. A hole is a time in which the target answered nothing.",
    ),
    Plot(
        "timeline",
        "Sessions, processes and answers on one time axis",
        "samples",
        timeline,
        "Sessions: how many worked or waited, by what they waited for (the figure is the average); CPU is one that "
        "waited for nothing. A red bar is a wait for a lock. Lanes: the darker, the busier. A slow spell belongs to "
        "what stands out above and below it.",
    ),
    Plot(
        "latency",
        "Response and service time quantiles",
        "an S8 trial or a drive at a fixed rate",
        latency,
        "Service time counts from the moment a request was sent, response time from when it was due: where the two "
        "part, requests had to wait before they could be sent. An unanswered request counts with the time waited for.",
    ),
    Plot(
        "ladder",
        "Latency over the ladder",
        "a step of the ladder",
        ladder,
        "From the median to the 99th percentile of each scenario at each step, all routes together. T20: spread over "
        "20 tenants. ✕: requests not answered as expected.",
    ),
    Plot(
        "null-benchmark",
        "Null benchmark",
        "a certificate",
        null_benchmark,
        "What the client can do against a stub that does nothing. Rates of this run mean something as long as they "
        "stay well below it.",
    ),
    Plot(
        "latency_calibration",
        "Measured against known latency",
        "a ruler certificate",
        latency_calibration,
        "Left: how far the measured latency of each request was from the one that the stub really made; below the "
        "line, 0.3 ms or 2 %, it is exact. Right: the stub stood still once; response time, from when a request was "
        "due, shows it in its body, service time only in the requests then in flight.",
    ),
    Plot(
        "storms",
        "Storms of unknown key ids",
        "a storm of unknown key ids",
        storms,
        "Blue bars at the top are the fetches that the origin counted, with the process that made each; none may start "
        "on a shaded ground. Orange lines are processes that wait for another's fetch. Red ticks are wrong answers.",
    ),
)
