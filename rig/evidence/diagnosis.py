"""What a diagnosis says: hypotheses with their figures, one of them first, and a sentence. Frozen values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Figure = float | int | str | None
Outcome = Literal["supported", "refuted", "undetermined"]
State = Literal["supported", "nothing", "undetermined"]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One way in which a run may have been slow, and what the samples say to it.

    ``prediction`` is what must be seen if it holds, ``falsifier`` what must not be. ``score`` (0 to 1) is how much
    it accounts for, 0 unless it is supported: a share of the requests in flight; for what is no place on their way, a
    share of the time (client, machine) or new sessions a request. ``because`` is the reason of the outcome in
    words, with its figures; for one that is undetermined, what was not seen.
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
    """The answer in a sentence, and what it rests on.

    ``first`` is the id of the hypothesis that explains most, None where ``state`` is ``nothing`` (all were refuted) or
    ``undetermined`` (none was supported, and some could not be decided: ``look_next`` says what to sample).
    ``hypotheses`` lie in the order of their weight. ``of`` names the storms looked at; ``in_flight`` has the average
    number of requests in flight by the place where they were.
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
