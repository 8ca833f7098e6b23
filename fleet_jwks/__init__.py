"""A verifier of bearer tokens whose whole fleet fetches its keys once. Small enough to read, and to adopt.

    verify = factory(os.environ)          # one a process, made after any fork
    claims = verify(token)                # raises Refused or KeysUnavailable

The danger: every token that names an unknown key id (``kid``) is a reason to ask the JWKS origin again, and anybody can
write such a token. Caches and cool-downs within a process do not help: a fleet of 16 asks 16 times. So what the fleet
knows lies in one row of PostgreSQL, and who may ask is decided there, by one clock:

- **single-flight**: who fetches holds an advisory lock; the others wait for it, and look again when they get it.
- **cold-start**: the lock and the row that says who may fetch next exist before the first key set does.
- **floor**: after a fetch nobody fetches for so long. Until then no process need even ask the database: nothing newer
  can exist, so an unknown kid is refused from memory.
- **floor-from-end**: the floor counts from the end of a fetch; from its start, slow fetches run back to back.
- **backoff**: after n failures in a row nobody fetches for base * 2^(n-1), at most the cap; also without a cached set.
- **jitter**: backoff is stretched and refresh comes early by a random share: fleets must not march in step.
- **follower-bound**: who waits for another's fetch waits so long and no longer, then is served what there is.
- **lock-scope**: the lock ends with its transaction. A killed leader's is gone in milliseconds; a stopped leader's with
  ``idle_in_transaction_session_timeout`` (``JWKS_LEADER_TIMEOUT_S``), and what it brings later is not written, as its
  session is dead. It works through a pooler in transaction mode, where a session's lock would be anybody's.
- **one-connection**: a process has one connection for all this, opened when first needed, however many wait.

Each can be switched off by name (``JWKS_WITHOUT=floor,backoff``) to show that a test notices. Known keys are verified
from memory and never wait, except where they are due: then one caller of the fleet refreshes, and the others are
served the stale ones, within ``JWKS_GRACE_S``.

``settings`` has every variable and bound, ``verifier`` the way of a token, ``refresh`` the protocol between processes,
``lease`` the lock, ``store`` the row, ``keys`` tokens and key sets, ``upstream`` the fetch (a URL, or any callable).
``python -m fleet_jwks`` makes the tables. Not for issuing tokens, nor for sessions.
"""

from fleet_jwks.errors import KeysUnavailable, Refused
from fleet_jwks.settings import Protection, Settings
from fleet_jwks.verifier import Verifier, factory

__all__ = ["KeysUnavailable", "Protection", "Refused", "Settings", "Verifier", "factory"]
