"""The kinds of forged tokens, and which exceptions mean that a token was refused. Members of a fleet import this."""

from __future__ import annotations

from collections.abc import Collection, Mapping

FORGED: Mapping[str, str] = {
    "signature": "with a known key's id and a signature of another key, of other claims, or none",
    "none": "of the algorithm none",
    "hmac": "signed with HS256 and a public key as the secret",
    "algorithm": "of another algorithm than that of the key it names",
    "unnamed": "without a key id and with a signature of another key, of other claims, or none",
    "expired": "that has expired",
    "early": "that is not valid yet",
    "issuer": "of another issuer",
    "audience": "for another audience",
    "key": "that brings a key of its own (jwk, jku, x5u)",
    "size": "of 100 kB with a stranger's signature",
    "form": "that is malformed",
}
"""What a forged token is. In a table of calls it is ``forged NAME ALGORITHM``."""

FAILED = "Failed"
"""Name of the exception that a verifier raises for a token that it neither accepted nor refused."""
ENDS_PROCESSES = "BaseException"
"""Stands before the name of an exception that no ``except Exception`` catches."""
_MISTAKES = frozenset(
    {
        *("AssertionError", "AttributeError", "IndexError", "KeyError", "MemoryError", "NameError"),
        *("NotImplementedError", "RecursionError", "SystemError", "TypeError", "UnboundLocalError"),
        "ZeroDivisionError",
    }
)


def is_refusal(error: str, refuses_with: Collection[str] = ()) -> bool:
    """Whether an exception says that a token is refused: not that something failed, nor that a program is wrong.

    ``refuses_with`` are names of exceptions that do mean so for this verifier.
    """
    name = error.partition(" ")[0]
    return name in refuses_with or name not in {FAILED, ENDS_PROCESSES, *_MISTAKES}
