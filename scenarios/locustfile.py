"""The scenarios as locust users. With native workers, at the engine's speed:

    locust -f scenarios/locustfile.py --master --headless -u 50 -r 50 -t 20s --expect-workers 1 &
    rig worker --master 127.0.0.1

or with locust alone, at locust's: the same without ``--master``. Without ``--rig-profile`` the reference service and
its database are started for the run. At the end the database is read, everything judged, and the exit code is the
verdict's. ``S8PerfGate`` takes part when it is named or given a count (``--rig-s8``): its users share a fixed number of
requests, and where it is alone the test ends with them.
"""

from __future__ import annotations

from locust import events

from rig.locust_bridge.master import install
from rig.locust_bridge.master_options import add_options
from rig.locust_bridge.master_users import StormUser
from scenarios.mix import CLASSES

events.init_command_line_parser.add_listener(add_options)
install(events)


class S1Replay(StormUser):
    """One event again and again."""

    weight = CLASSES["S1Replay"].weight


class S2Unique(StormUser):
    """Distinct valid events."""

    weight = CLASSES["S2Unique"].weight


class S3Malformed(StormUser):
    """Bodies that do not fit the schema."""

    weight = CLASSES["S3Malformed"].weight


class S4Personal(StormUser):
    """Valid events that carry personal data."""

    weight = CLASSES["S4Personal"].weight


class S6Mixed(StormUser):
    """Replays, valid and malformed events by turns, 7 : 3 : 1."""

    weight = CLASSES["S6Mixed"].weight


class S7InvalidJson(StormUser):
    """Truncated bodies, correctly signed."""

    weight = CLASSES["S7InvalidJson"].weight


class S8PerfGate(StormUser):
    """A fixed number of mixed requests, shared by all users of this class on all workers."""

    weight = 1
