"""Pictures of a run: each a pure function from the case to a figure, or None where there is nothing to draw.

Flow: ``PLOTS`` lists them in the order of the report, a module each; ``png`` renders one. A title says what the picture
shows of this run, axes have units, and no meaning rests on a colour alone. matplotlib is imported when the first
picture is drawn, because the import takes longer than most verbs do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rig.evidence.case import Case
from rig.report.plots.canvas import own_style, png
from rig.report.plots.capacity import capacity
from rig.report.plots.chaos import chaos
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

__all__ = ["PLOTS", "Plot", "own_style", "png"]


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture. ``caption`` says how to read it, ``needs`` which evidence it needs."""

    name: str
    title: str
    needs: str
    draw: Callable[[Case], Figure | None]
    caption: str


PLOTS: tuple[Plot, ...] = (
    Plot(
        "judged-storm",
        "Scenario runs with a limit on one time axis",
        "samples, and a scenario run with a limit that is a small part of the run",
        judged_storm,
        "From the top: answers, their times, what the sessions of the database did or waited for, which processes used "
        "the cores. Look for what stays high while the answers stay flat: it is the limit.",
    ),
    Plot(
        "s8-limit",
        "S8 against its limit",
        "an S8 trial",
        s8_limit,
        "A trial passes where its line reaches all requests left of the limit. A bend means that the pace changed.",
    ),
    Plot(
        "capacity",
        "Response times and utilisation over the rate",
        "a search for the capacity",
        capacity,
        "Each point is a step at a rate: held, ✕ missed by the target, ○ not driven by client or machine. Shaded: the "
        "interval of the answer. Below: the busiest load process, the busiest process of the target (on a core, ready, "
        "or blocked on a disk), and the share of the open database sessions in use. What reaches 100 % is short.",
    ),
    Plot(
        "chaos",
        "Faults, attempts and deliveries on one time axis",
        "a run of S11",
        chaos,
        "Shaded: a fault, from its strike to its healing, with its number in the table of faults. Above: how attempts "
        "ended. In the middle: what was acknowledged at once, and what when it was sent again. Below: how long each "
        "event took; a steep fall means that what had waited came in one after the other.",
    ),
    Plot(
        "throughput",
        "Throughput and outcomes over time",
        "a scenario run that sent something",
        throughput,
        "Answers by the moment when they were complete. In a gap the target answered nothing.",
    ),
    Plot(
        "timeline",
        "Sessions, processes and answers on one time axis",
        "samples",
        timeline,
        "Sessions: how many worked or waited, by what they waited for, with the average; CPU means that a session "
        "waited for nothing. A red bar is a wait for a lock. Processes: the darker, the busier. Where answers are slow "
        "look for what changes in the other panels at the same time.",
    ),
    Plot(
        "latency",
        "Response and service time quantiles",
        "an S8 trial or a scenario run at a fixed rate",
        latency,
        "Service time counts from when a request was sent, response time from when it was due. Where the two differ, "
        "requests had to wait before they were sent. An unanswered request is drawn where it was given up.",
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
        "How fast the client is against a stub that does nothing. Rates of this run can be trusted where they are well "
        "below it.",
    ),
    Plot(
        "latency_calibration",
        "Measured against known latency",
        "a latency certificate",
        latency_calibration,
        "Left: the error of each request's measured latency against the delay that the stub really made. Below the "
        "line, 0.3 ms or 2 %, it counts as exact. Right: the stub was frozen once. The response time must show it in "
        "many requests, the service time only in those in flight.",
    ),
    Plot(
        "storms",
        "Storms of unknown key ids",
        "a storm of unknown key ids",
        storms,
        "Blue bars at the top are the fetches that the origin counted, with the process that made each; none may start "
        "on a shaded ground. Thin lines are processes that wait for another's fetch. Red ticks are wrong answers.",
    ),
)
