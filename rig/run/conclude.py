"""How a run ends that cannot go on: what was gathered is judged and kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rig.errors import EvidenceError, RigError
from rig.run.record import Record


@contextmanager
def conclude_on_error(record: Record, what: str) -> Iterator[None]:
    """When ``what`` (the run, the storm) raises RigError, judge what there is, and raise it again without secrets.

    A run that was cut short passes nothing, however good it was so far.
    """
    try:
        yield
    except RigError as error:
        reason = record.secrets.blank(str(error))  # it may quote the target's last words
        with suppress(EvidenceError):  # a full disk may be what ended the run
            record.mark_cut_short(f"the {what} could not go on: {reason}")
            record.judge()
        if not record.pack.is_sealed:
            room = "make room, then " if isinstance(error, EvidenceError) else ""
            reason = f"{reason}; what was gathered is kept; {room}finish it: rig settle {record.path}"
        raise type(error)(reason) from None
    except BaseException:  # an interrupt, or a fault of the rig itself: not judged, but no secret is left behind
        with suppress(EvidenceError):
            record.secrets.clean(record.pack.logs_folder)
        raise
