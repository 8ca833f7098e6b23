"""The times that a verifier is told to keep to. A frozen value; members of a fleet import it."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """What the subject is told, and judged by. Its environment has each as ``JWKS_COOL_DOWN_S`` and so on."""

    cool_down_s: float = 2.5
    ttl_s: float = 300.0
    grace_s: float = 600.0
    backoff_base_s: float = 0.25
    backoff_cap_s: float = 1.0
    jitter: float = 0.2
    wait_timeout_s: float = 2.0
    fetch_timeout_s: float = 3.0
    leader_timeout_s: float = 4.0

    def environ(self) -> dict[str, str]:
        """As environment variables; until the next release those that were renamed under both names."""
        own = {f"JWKS_{one.name.upper()}": f"{getattr(self, one.name):g}" for one in fields(self)}
        return {**own, "JWKS_FLOOR_S": own["JWKS_COOL_DOWN_S"], "JWKS_PATIENCE_S": own["JWKS_WAIT_TIMEOUT_S"]}

    def backoff_s(self, failures: int) -> float:
        """The least wait after so many failures in a row."""
        return max(self.cool_down_s, self._bare_s(failures))

    def stretches(self, failures: int) -> bool:
        """Whether jitter shows in that wait: not where the backoff is still shorter than the cool-down."""
        return self._bare_s(failures) >= self.cool_down_s

    def _bare_s(self, failures: int) -> float:
        return min(self.backoff_cap_s, self.backoff_base_s * 2.0 ** min(failures - 1, 60))
