"""The steps of the examination in their order, what each needs, and what is said of one that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg

from rig.doctor import events, surroundings
from rig.doctor.context import DoctorContext
from rig.doctor.findings import DoctorStepResult, Examination, NotApplicable, State, Symptom, WrongAnswer, WrongProfile
from rig.doctor.sample_requests import ACCEPTED, FORGED, VALID
from rig.errors import ExitCode, RigError
from rig.machine.supervisor import Supervisor, temporary_folder
from rig.requests.identity import draw_run_key
from rig.settings import Settings
from rig.text import one_line
from rig.truth.session import in_words


@dataclass(frozen=True, slots=True)
class DoctorStep:
    """A step to make. It is skipped where one that it ``needs`` failed, or was skipped for the same reason."""

    name: str
    look: Callable[[DoctorContext], str]
    needs: tuple[str, ...] = ()


def _of_kinds(kinds: Iterable[str]) -> Iterable[DoctorStep]:
    for name in kinds:
        needs = ("tenants",) if name == VALID else (f"{VALID}: answers",)
        yield DoctorStep(f"{name}: answers", events.answers_of(name), needs)


STEPS = (
    DoctorStep("profile", surroundings.profile_is_valid),
    DoctorStep("environment", surroundings.environment_is_complete, ("profile",)),
    DoctorStep("truth database", surroundings.database_answers, ("environment",)),
    DoctorStep("target listens", surroundings.target_listens, ("profile",)),
    DoctorStep("target ready", surroundings.target_is_ready, ("truth database", "target listens")),
    DoctorStep("probes", surroundings.probes_answer, ("target ready",)),
    DoctorStep("truth tables", surroundings.truth_tables_are_there, ("truth database",)),
    DoctorStep("truth readable", surroundings.truth_is_readable, ("truth tables",)),
    DoctorStep("row-level security", surroundings.row_security_is_on, ("truth tables",)),
    DoctorStep("target's role", surroundings.runtime_role_is_bound, ("truth tables",)),
    DoctorStep("tenants", events.tenants_exist, ("target ready", "truth readable")),
    *_of_kinds((VALID,)),
    DoctorStep("clocks", surroundings.clocks_agree, ("tenants",)),
    *_of_kinds((*ACCEPTED[1:], *FORGED)),
    DoctorStep("truth", events.truth_is_read, (f"{VALID}: answers",)),
    *(DoctorStep(f"{name}: rows", events.rows_of(name), (f"{name}: answers", "truth")) for name in ACCEPTED),
    *(DoctorStep(f"{name}: no row", events.rows_of(name), ("truth",)) for name in FORGED),
    DoctorStep("nothing else stored", events.no_other_rows, ("truth",)),
    DoctorStep("transactions", events.no_open_transactions, ("truth",)),
    DoctorStep("personal data", events.no_personal_data, ("truth",)),
    DoctorStep("processes", surroundings.processes_are_found, ("target ready",)),
    DoctorStep("samplers", surroundings.samplers_may_look, ("truth database",)),
)


def examine(
    profile: Path, settings: Settings, environ: Mapping[str, str], print_step: Callable[[DoctorStepResult], None]
) -> Examination:
    """Go through all steps; ``print_step`` is called with each as soon as it is done.

    Whatever was started is ended again.

    A target that was running before keeps the tenants and the few rows of the examination, as after a run.
    """
    results: list[DoctorStepResult] = []
    halted: set[str] = set()
    with Supervisor() as supervisor, temporary_folder("rig-doctor-") as logs, ExitStack() as stack:
        context = DoctorContext(profile, settings, environ, supervisor, stack, logs, draw_run_key(settings.seed))
        for step in STEPS:
            result = _make_step(step, context, halted)
            results.append(result)
            print_step(result)
    return Examination(str(profile), tuple(results), context.corrected)


def _make_step(step: DoctorStep, context: DoctorContext, halted: set[str]) -> DoctorStepResult:
    """Make one step. One that is skipped because of another counts as halted, too.

    The text may quote the target's log, answers or rows, so the secrets that are known by then are removed from it, and
    control characters are escaped.
    """
    missing = [name for name in step.needs if name in halted]
    if missing:
        halted.add(step.name)
        return DoctorStepResult(step.name, State.SKIPPED, f"needs {missing[0]!r}")
    blank, is_answer = context.secrets.blank, False
    try:
        return DoctorStepResult(step.name, State.OK, one_line(blank(step.look(context))))
    except NotApplicable as reason:
        return DoctorStepResult(step.name, State.SKIPPED, one_line(reason))
    except Symptom as symptom:
        said, code, writes, is_answer = str(symptom), ExitCode.FAIL, symptom.writes, isinstance(symptom, WrongAnswer)
    except RigError as error:
        said, code = str(error), ExitCode(error.exit_code)
        writes = error.writes if isinstance(error, WrongProfile) else ()
    except psycopg.Error as error:
        said, code, writes = f"the truth database: {in_words(error)}", ExitCode.UNAVAILABLE, ()
    corrections = context.correct(writes)
    if is_answer and corrections:
        context.take_corrected_answers()
    else:
        halted.add(step.name)
    return DoctorStepResult(step.name, State.FAIL, one_line(blank(said)), code, corrections)
