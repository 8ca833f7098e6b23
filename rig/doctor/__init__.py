"""``rig doctor``: is a profile right, and is its target fit to be judged? StepResult by step, with what to mend.

Flow: ``examine`` goes through the stages of ``rig.doctor.examination``; each is a function that looks at the
``DoctorContext`` (the target, its database, what was found so far) and says what it found, or raises what is wrong. A
step whose needs are not met is skipped. It sends a few dozen single events and reads the truth of them as a run does.
Not for load, and not a verdict: a healthy target may still lose one event in a thousand.
"""

from rig.doctor.examination import examine
from rig.doctor.findings import Examination, State, StepResult

__all__ = ["Examination", "State", "StepResult", "examine"]
