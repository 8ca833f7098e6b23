"""The scenarios as locust users:

    locust -f scenarios/locustfile.py --headless -u 50 -r 50 -t 20s

The load is sent by a native worker of the rig, in a process of its own, which this starts. With ``--master`` it starts
none: run ``rig worker --master HOST`` on as many machines as you want. Without ``--rig-profile`` the reference service
and its database are started for the run. At the end the database is read, everything is judged, and the exit code is
the verdict's. ``S8PerfGate`` takes part when it is named or given a count (``--rig-s8``): its users share a fixed
number of requests, and where it is alone the test ends with them.
"""

from __future__ import annotations

from locust import events

from rig.locust_bridge.master import install
from rig.locust_bridge.master_options import SharedScenario
from scenarios.mix import MIX, PERF_GATE
from scenarios.s8 import LIMIT_S, REQUESTS, perf_gate

# Locust finds user classes among the names of this module: there is one for each entry of the mix.
globals().update(install(events, MIX, SharedScenario(PERF_GATE, perf_gate, REQUESTS, LIMIT_S)))
