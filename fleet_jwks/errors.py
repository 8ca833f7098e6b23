"""Why a token gives no claims: it is bad, or the keys to tell are not to be had just now.

::

    VerifierError
    ├── Refused            401: this token will not do, now or later
    └── KeysUnavailable    503: ask again; no key set, or the one there is has outlived its grace

``FetchFailed`` is what an upstream raises; it never leaves the package.
"""

from __future__ import annotations


class VerifierError(Exception):
    """No claims."""


class Refused(VerifierError):
    """The token is malformed, expired, badly signed, or names a key that the newest set does not hold."""


class KeysUnavailable(VerifierError):
    """There are no keys to judge the token by."""

    retry = True
    """Says so to a caller that does not know this class."""


class FetchFailed(Exception):
    """The origin gave no usable key set."""
