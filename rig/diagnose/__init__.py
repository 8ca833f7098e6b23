"""Why was it slow? Fixed hypotheses, weighed against what the samplers saw while the judged scenarios ran.

Flow: ``diagnose`` takes a case. ``measured`` makes ``numbers`` of it: where the requests in flight were, on average.
``database``, ``connections``, ``server``, ``client`` and ``machine`` weigh the hypotheses. ``answer`` puts them in
order and says the first in a sentence. Pure: the same pack gives the same answer a year later.

Not a gate: a diagnosis explains, and passes or fails nothing. (A limit that was missed while others took the machine is
INVALID: ``rig.checks.performance``.)
"""

from rig.diagnose.answer import diagnose, explain
from rig.evidence.diagnosis import Diagnosis, Hypothesis

__all__ = ["Diagnosis", "Hypothesis", "diagnose", "explain"]
