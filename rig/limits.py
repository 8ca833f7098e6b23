"""Numbers that several parts share. It imports nothing: the command line starts quickly."""

from __future__ import annotations

FLOOR_RPS = 2_000.0
"""What the null benchmark must reach."""
LEAST_TRIALS, LEAST_REQUESTS, LEAST_S = 3, 10_000, 2.0
"""What a null benchmark must rest on to be more than weak: so many trials of so many requests and seconds."""

BUSY = 0.9
"""A worker, stub or machine that is busy for this share of what it is allowed is at its limit."""
STOLEN, THROTTLED = 0.1, 0.1
"""What a hypervisor, or a CPU quota, may take of the time in which something is measured."""

REQUESTS_CEILING = 5_000_000
RATE_CEILING_PER_S = 50_000.0
"""Limits of the rig itself: no profile and no option goes above these two."""
STALLED = 0.1
"""A worker that was ready to run and did not for this share of a drive was stopped or throttled."""
