"""What a verifier is told to keep to, and what it says of itself. Frozen values; members of a fleet import them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import ceil


@dataclass(frozen=True, slots=True)
class VerifierTraits:
    """What a verifier can be asked. The keys of the set go round ``algorithms``; there are ``keys`` of them at first.

    Times are set in multiples of ``grain_s`` (0: any). ``unchecked`` names kinds of forged tokens that it accepts by
    design. ``waits``: while another process fetches, it lets a caller wait and never refuses a valid token.
    ``refuses_with`` names exceptions that mean a refusal, though they usually mean a mistake. ``without_key_id``: a
    valid token without a key id is ``accepted`` or ``refused``; None where it does not say. ``expires``: keys are
    fetched again when they are old; else only for an unknown key id.
    """

    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    keys: int = 3
    grain_s: float = 0.0
    unchecked: tuple[str, ...] = ()
    waits: bool = False
    refuses_with: tuple[str, ...] = ()
    without_key_id: str | None = None
    expires: bool = True


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

    def rounded_to(self, grain_s: float) -> VerifierSettings:
        """The same in multiples of ``grain_s``, rounded up; a share stays as it is."""
        if not grain_s:
            return self
        times = {one.name: getattr(self, one.name) for one in fields(self) if one.name.endswith("_s")}
        return replace(self, **{name: ceil(round(time_s / grain_s, 9)) * grain_s for name, time_s in times.items()})

    def backoff_s(self, failures: int) -> float:
        """The least wait after so many failures in a row."""
        return max(self.cool_down_s, self._bare_s(failures))

    def stretches(self, failures: int) -> bool:
        """Whether jitter shows in that wait: not where the backoff is still shorter than the cool-down."""
        return self._bare_s(failures) >= self.cool_down_s

    def _bare_s(self, failures: int) -> float:
        return min(self.backoff_cap_s, self.backoff_base_s * 2.0 ** min(failures - 1, 60))
