"""``rig storm unknown-kid --origin``: the origin of the key storm, kept up for a fleet that is set up by hand."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rig.errors import ConfigError
from rig.machine.supervisor import Supervisor, temporary_folder
from rig.profile import Profile
from rig.profile.storms import UnknownKid
from rig.storms.unknown_kid.keyring import AUDIENCE, Keyring, unknown_token
from rig.storms.unknown_kid.origin import open_origin, read_ledger


@dataclass(frozen=True, slots=True)
class StandingOrigin:
    """Where keys are fetched, and tokens to try. The valid ones last an hour."""

    url: str
    discovery: str
    issuer: str
    audience: str
    valid: dict[str, str]
    """By algorithm."""
    unknown: str

    def lines(self) -> str:
        """For a person."""
        tokens = [f"valid      {algorithm}  {token}" for algorithm, token in self.valid.items()]
        return "\n".join(
            [
                f"keys       {self.url}",
                f"discovery  {self.discovery}",
                f"issuer     {self.issuer}",
                f"audience   {self.audience}",
                *tokens,
                f"unknown    {self.unknown}",
            ]
        )


def keep_origin(profile: Profile, tell: Callable[[StandingOrigin], None]) -> int:
    """Keep the origin up until SIGINT or SIGTERM; how often keys were fetched. ConfigError without a section.

    ``tell`` is called once it listens.
    """
    section = profile.storms.unknown_kid
    if section is None:
        raise ConfigError("--origin needs [storms.unknown-kid] in the profile, with origin_port")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with Supervisor(), temporary_folder("rig-origin-") as folder:
        return _serve(section, folder, tell, ended)


def _serve(section: UnknownKid, folder: Path, tell: Callable[[StandingOrigin], None], ended: threading.Event) -> int:
    algorithms = section.promises.algorithms
    with open_origin(folder, "origin", section.origin_port) as origin:
        keyring = Keyring.make(algorithms, section.promises.keys, origin.issuer(section.issuer))
        origin.change(document=keyring.document(), issuer=keyring.issuer, cache_control=section.cache_control)
        tell(
            StandingOrigin(
                origin.url,
                origin.discovery_url,
                keyring.issuer,
                AUDIENCE,
                dict(zip(algorithms, keyring.known_tokens(), strict=False)),
                unknown_token(algorithms[0], keyring.issuer),
            )
        )
        ended.wait()
        return len(read_ledger(origin.origin_ledger))
