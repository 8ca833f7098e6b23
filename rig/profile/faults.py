"""What ``rig chaos`` may break."""

from __future__ import annotations

import re
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from rig.evidence.chaos import FAULTS
from rig.profile.fields import NAME_PATTERN, Command, Name, Seconds, Section


class FaultCommand(Section):
    """A fault that a command of yours makes, with ``docker``, ``kubectl`` or ``systemctl`` for example.

    The rig runs it only where ``faults.allow`` and ``--allow-faults`` both name it. The commands may use ``{python}``
    and ``{profile_dir}``.
    """

    command: Command
    """Program that strikes. Any exit code but 0 means that it did not."""
    undo: Command
    """Program that heals. It also runs when the rig is interrupted or killed, and must do no harm where nothing is
    broken."""
    timeout_s: Seconds = 30
    """How long ``command`` may take. ``undo`` may take 10 s."""


class Faults(Section):
    """What ``rig chaos`` may break, and how soon the target must be back.

    The rig breaks what it started itself. The rest must be allowed here, and once more with ``--allow-faults``. Each
    ``[faults.NAME]`` is a fault of your own.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, FaultCommand]

    allow: tuple[Name, ...] = ()
    """Names of faults that may strike what the rig did not start."""
    timeout_s: float = Field(default=2.0, ge=0.1, le=30)
    """After so long the sender gives up an attempt. Give more for a target that is slow by nature."""
    recovery_s: Seconds | None = None
    """After the healing of a fault the target may take so long until it is back at 90 % of its rate. Without it
    the time is a figure, and no gate."""

    @property
    def commands(self) -> dict[str, FaultCommand]:
        """The profile's own faults, by name."""
        return dict(self.__pydantic_extra__ or {})

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for name in self.commands:
            if re.fullmatch(NAME_PATTERN, name) is None:
                raise ValueError(f"{name[:80]!r} is no name of a fault: it takes letters, digits, dots, dashes")
            if name in FAULTS:
                raise ValueError(f"{name!r} is a fault of the rig's; give yours another name")
        known = (*FAULTS, *self.commands)
        if unknown := [name for name in self.allow if name not in known]:
            raise ValueError(f"allow: {unknown[0]!r} is no fault; known are {', '.join(known)}")
        return self
