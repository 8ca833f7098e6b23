"""A verifier of bearer tokens whose whole fleet fetches its keys once. Small enough to read, and to adopt.

    verify = factory(os.environ)          # one a process, made after any fork
    claims = verify(token)                # raises Refused or KeysUnavailable

The danger: every token that names an unknown key id (``kid``) is a reason to ask the JWKS origin again, and anybody can
write such a token. Caches and cool-downs within a process do not help: a fleet of 16 asks 16 times. So the fleet keeps
what it knows in one row of PostgreSQL, and the database decides by its own clock who may fetch:

- **single-flight**: the process that fetches holds an advisory lock. The others wait for it, and read the row again
  when they get it.
- **cold-start**: the lock and the row exist before the first key set does.
- **cool-down**: for some time after a fetch nobody fetches. Until then a process does not even ask the database:
  nothing newer can exist, so an unknown key id is refused from memory.
- **cool-down-from-end**: the cool-down counts from the end of a fetch. From its start, slow fetches would run back to
  back.
- **backoff**: after n failures in a row nobody fetches for base * 2^(n-1), at most the cap; also without a cached set.
- **jitter**: a random share makes backoff longer and refreshes earlier, so that fleets do not act in step.
- **follower-bound**: a process waits for another's fetch only so long. Then it answers with the keys that it has.
- **lock-scope**: the lock ends with its transaction. The lock of a killed leader is gone in milliseconds. A stopped
  leader loses its session and its lock after ``JWKS_LEADER_TIMEOUT_S`` (``idle_in_transaction_session_timeout``); what
  it brings later is not written. A pooler in transaction mode does no harm; a session's lock would belong to anybody.
- **one-connection**: a process has one connection for all this, opened when first needed, however many threads wait.

Each can be switched off by name (``JWKS_WITHOUT=cool-down,backoff``) to show that a test notices. Known keys are
verified from memory and never wait, also where the database stands still. When they are due, one thread of the fleet
refreshes them, and all callers use the stale ones meanwhile, within ``JWKS_GRACE_S``.

``settings`` has every variable and bound, ``verifier`` the way of a token, ``asynchronous`` the same beside an event
loop, ``pyjwt`` the keys for PyJWT. ``fleet`` is what a verifier needs of a store. The one over PostgreSQL: ``refresh``
is the protocol between processes, ``lease`` the lock, ``store`` the row. ``keys`` has tokens and key sets, ``upstream``
the fetch (a URL, or any callable). ``python -m fleet_jwks`` makes the tables. Not for issuing tokens, nor for sessions.
"""

import logging

from fleet_jwks.errors import KeysUnavailable, Refused
from fleet_jwks.settings import JwksSettings, Protection
from fleet_jwks.verifier import Verifier, factory

__all__ = [
    "JwksSettings",
    "KeysUnavailable",
    "Protection",
    "Refused",
    "Verifier",
    "factory",
]

logging.getLogger("fleet_jwks").addHandler(logging.NullHandler())  # a library leaves it to the service what is shown
