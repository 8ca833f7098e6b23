"""Numbers that several parts share. This module imports nothing, so that the command line starts quickly."""

from __future__ import annotations

FLOOR_RPS = 2_000.0
"""What the null benchmark must reach."""
LAST_LOOK_S = 6.0
"""Rows are read again so long after the last answer: what a service removes after five seconds is gone then."""
LEAST_TRIALS, LEAST_REQUESTS, LEAST_S = 3, 10_000, 2.0
"""A null benchmark with fewer trials, requests or seconds a trial is weak evidence."""

BUSY = 0.9
"""A worker, stub or machine that is busy for this share of its CPU allowance is at its limit."""
STOLEN, THROTTLED = 0.1, 0.1
"""The largest share of the measured time that a hypervisor, or a CPU quota, may take away."""

REQUESTS_CEILING = 5_000_000
RATE_CEILING_PER_S = 50_000.0
SECONDS_CEILING = 1_000_000
USERS_CEILING = 10_000
"""Limits of the rig itself. No profile and no option can raise them. The system's timers bear no endless time."""
STALLED = 0.1
"""A worker that was ready to run but did not, for this share of a scenario run, was stopped or throttled."""
STALE_MOST = 0.005
"""The share of a scenario run's requests that may meet a stale connection; more is FAIL."""
ASK_AGAIN = (408, 429)
"""Below 500, the statuses that ask a sender for another attempt."""
PROBE_BYTES_MOST = 1 << 20
"""Of a longer answer to a probe, as of long metrics, only the beginning is kept."""
