"""What tells a run from all others, and ids for its requests in the text form of UUIDs: each gets two of them.

A ``Namespace`` gives UUIDv5 (RFC 9562, 5.5) at a third of the cost of ``uuid.uuid5``; a ``Series`` numbers things at a
third of that again.
"""

from __future__ import annotations

import hashlib
import time
import uuid

from rig.model import RunKey

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def draw_run_key(seed: int) -> RunKey:
    """The key of a run that begins now. Its events have keys that are nobody else's."""
    return RunKey(seed, uuid.uuid4().hex[:12], int(time.time()))


class Namespace:
    """Names things within a UUID namespace."""

    def __init__(self, namespace: uuid.UUID) -> None:
        self._sha1 = hashlib.sha1(namespace.bytes, usedforsecurity=False)

    def name(self, name: str) -> str:
        """The UUIDv5 of ``name``, as ``str(uuid.uuid5(namespace, name))`` gives it."""
        sha1 = self._sha1.copy()
        sha1.update(name.encode())
        hexed = sha1.hexdigest()
        return f"{hexed[:8]}-{hexed[8:12]}-5{hexed[13:16]}-{_VARIANT[hexed[16]]}{hexed[17:20]}-{hexed[20:32]}"


class Series:
    """One id for each number below 2**48, none twice; those of two series differ as two UUIDv5 do.

    The first 48 bits of a UUIDv5 move on by an odd step, so they run through all values, scattered: an index over the
    ids takes them like any other UUIDs. The version stays, because some services accept only 1 to 5. They
    are bytes, as requests carry them.
    """

    _STEP = 0x9E37_79B9_7F4B  # 2**48 over the golden ratio, odd: neighbours lie far apart

    def __init__(self, namespace: Namespace, name: str) -> None:
        first = namespace.name(name)
        self._begin = int(first[:8] + first[9:13], 16)
        self._rest = first[13:].encode()

    def __getitem__(self, number: int) -> bytes:
        head = self._begin + number * self._STEP
        return b"%08x-%04x%b" % (head >> 16 & 0xFFFF_FFFF, head & 0xFFFF, self._rest)
