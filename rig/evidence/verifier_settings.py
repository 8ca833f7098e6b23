"""What a verifier is told to keep to, and is held to. A frozen value; members of a fleet import it."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """What the subject was told, and is held to. The environment of the subject has them as ``JWKS_FLOOR_S`` etc."""

    floor_s: float = 2.5
    ttl_s: float = 300.0
    grace_s: float = 600.0
    backoff_base_s: float = 0.25
    backoff_cap_s: float = 1.0
    jitter: float = 0.2
    patience_s: float = 2.0
    fetch_timeout_s: float = 3.0
    leader_timeout_s: float = 4.0

    def environ(self) -> dict[str, str]:
        """As environment variables."""
        return {f"JWKS_{one.name.upper()}": f"{getattr(self, one.name):g}" for one in fields(self)}

    def backoff_s(self, failures: int) -> float:
        """The least wait after so many failures in a row."""
        return max(self.floor_s, self._bare_s(failures))

    def stretches(self, failures: int) -> bool:
        """Whether jitter shows in that wait: not where the backoff is still shorter than the floor."""
        return self._bare_s(failures) >= self.floor_s

    def _bare_s(self, failures: int) -> float:
        return min(self.backoff_cap_s, self.backoff_base_s * 2.0 ** min(failures - 1, 60))
