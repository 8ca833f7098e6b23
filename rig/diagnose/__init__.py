"""Why was it slow? Stated hypotheses, weighed against what the samplers saw during the storms that are judged.

Flow: ``diagnose`` takes a case; ``measured`` makes ``numbers`` of it (where the requests in flight were, on average);
each family of hypotheses weighs its own (``database``, ``connections``, ``server``, ``client``, ``machine``);
``answer`` puts them in order and says it in a sentence. Pure: the same pack gives the same answer, a year later.

Not a gate: a diagnosis passes or fails nothing. It explains. (That others took the machine excuses a missed limit, as a
client at its own limit does: ``rig.checks.performance``.)
"""

from rig.diagnose.answer import diagnose, explain
from rig.evidence.diagnosis import Diagnosis, Hypothesis

__all__ = ["Diagnosis", "Hypothesis", "diagnose", "explain"]
