"""``rig doctor``: is a profile right, and is its target fit to be judged? Step by step, with what to mend.

Flow: ``examine`` goes through the steps of ``rig.doctor.examination``. Each is a function that looks at the
``DoctorContext`` (the target, its database, what was found so far) and says what it found, or raises what is wrong. A
step that needs one that failed is skipped. The doctor sends a few dozen single events and reads their truth as a run
does. It gives no verdict: a target without a FAIL may still lose one event in a thousand under load.
"""

from rig.doctor.examination import examine
from rig.doctor.findings import DoctorStepResult, Examination, State

__all__ = ["DoctorStepResult", "Examination", "State", "examine"]
