"""Why a token gives no claims: it is bad, or there are no keys to judge it by just now.

::

    VerifierError
    ├── Refused            401: the token is bad, now and later
    └── KeysUnavailable    503: ask again; there is no key set, or its grace is over

``FetchFailed`` is what an upstream raises, ``FleetUnavailable`` what a store does; neither leaves the package.
"""

from __future__ import annotations


class VerifierError(Exception):
    """A token gave no claims."""


class Refused(VerifierError):
    """The token is malformed, expired, badly signed, or names a key that the newest set does not hold."""


class KeysUnavailable(VerifierError):
    """There are no keys to judge the token by."""

    retry = True
    """Tells a caller that does not know this class that it may ask again."""


class FetchFailed(Exception):
    """The origin gave no usable key set."""


class FleetUnavailable(Exception):
    """The store that the fleet shares does not answer, or is read-only."""
