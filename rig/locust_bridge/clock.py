"""How far this host's monotonic clock is from the master's: the smallest round trip decides (Cristian, 1989).

Times on different hosts are never compared without this offset, and the report says how uncertain it is: half the round
trip. Processes of one boot share one clock, network namespaces or not; there the offset is 0 and exact.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path


def boot_id() -> str:
    """Names this boot of this kernel; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(slots=True)
class Offset:
    """The best estimate so far: add ``offset_ns`` to a time of this host to get the master's."""

    offset_ns: int = 0
    error_ns: int = 1 << 62

    def hear(self, sent_ns: int, master_ns: int, master_boot_id: str) -> None:
        """Take an answer of the master into account; it was asked at ``sent_ns`` and answered at ``master_ns``."""
        if master_boot_id and master_boot_id == boot_id():
            self.offset_ns = self.error_ns = 0
            return
        now_ns = time.monotonic_ns()
        error_ns = (now_ns - sent_ns) // 2
        if error_ns < self.error_ns:
            self.error_ns = error_ns
            self.offset_ns = master_ns - (sent_ns + error_ns)

    @property
    def known(self) -> bool:
        """True once an answer came."""
        return self.error_ns < 1 << 62
