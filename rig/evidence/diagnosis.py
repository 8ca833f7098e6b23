"""A diagnosis: hypotheses with their figures, the first one, and the answer as a sentence. Frozen values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Figure = float | int | str | None
Outcome = Literal["supported", "refuted", "undetermined"]
State = Literal["supported", "nothing", "undetermined"]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One possible reason why a run was slow, and what the samples say about it.

    ``prediction`` is what is seen if it holds, ``falsifier`` what refutes it. ``score`` (0 to 1) is how much it
    explains: a share of the requests in flight, of the time (client, machine), or new sessions for each request. It is
    0 unless the hypothesis is supported. ``because`` gives the reason of the outcome with its figures, or what was not
    seen.
    """

    id: str
    title: str
    prediction: str
    falsifier: str
    outcome: Outcome
    score: float
    figures: Mapping[str, Figure]
    because: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The answer in a sentence, and its reasons.

    ``first`` is the id of the hypothesis that explains most. It is None where ``state`` is ``nothing`` (all were
    refuted) or ``undetermined`` (none was supported, and some could not be decided: ``look_next`` says what to sample).
    ``hypotheses`` are in the order of their weight. ``of`` names the scenario runs; ``in_flight`` has the mean number
    of requests in flight at each place.
    """

    answer: str
    state: State
    first: str | None
    hypotheses: tuple[Hypothesis, ...]
    look_next: tuple[str, ...]
    of: tuple[str, ...] = ()
    in_flight: Mapping[str, float] = field(default_factory=dict)

    def hypothesis(self, name: str) -> Hypothesis:
        """The one with that id; KeyError where there is none."""
        for hypothesis in self.hypotheses:
            if hypothesis.id == name:
                return hypothesis
        raise KeyError(name)
