"""From raw rows to named columns, also after a crash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from rig.errors import ErrorKind, EvidenceError
from rig.evidence.history import (
    COLUMNS,
    History,
    RowsTail,
    attempts_of_requests,
    outcomes_of_requests,
    read_history,
)
from rig.evidence.scenario_runs import RESULT
from rig.evidence.worker_files import bodies_file
from rig.model import Outcome, Redelivery, RequestClass, Scenario, Share
from rig.requests.targeter import Composition
from tests.engine.scenes import scenario

ANSWERS = dict.fromkeys(RequestClass, (200,)) | {RequestClass.MALFORMED: (400, 422)}
MIXED = scenario(
    8,
    shares=(
        Share(RequestClass.VALID, 4),
        Share(RequestClass.MALFORMED, 3),
        # The same class once more: shares and classes are not the same thing.
        Share(RequestClass.VALID, 1, source="fb"),
    ),
    tenants=("A", "B"),
    connections=2,
)
ENDS = [
    # seq, status, kind             class        tenant outcome
    (0, 200, ErrorKind.NONE, "valid", "A", "acknowledged"),
    (1, 500, ErrorKind.NONE, "valid", "B", "refused"),
    (2, 0, ErrorKind.TIMEOUT, "valid", "A", "indeterminate"),
    (3, 0, ErrorKind.CONNECT, "valid", "B", "not_sent"),
    (4, 422, ErrorKind.NONE, "malformed", "A", "acknowledged"),
    (5, 200, ErrorKind.NONE, "malformed", "B", "refused"),
    (6, 0, ErrorKind.SKIPPED, "malformed", "A", "not_sent"),
    (7, 200, ErrorKind.NONE, "valid", "A", "acknowledged"),
]


def raw(ends: list[tuple[int, int, ErrorKind]], worker: int = 0) -> NDArray[np.void]:
    rows = np.zeros(len(ends), RESULT)
    for row, (seq, status, kind) in zip(rows, ends, strict=True):
        row["seq"], row["status"], row["error_kind"], row["worker"] = seq, status, kind, worker
        row["intended_ns"], row["sent_ns"], row["done_ns"] = seq + 10, seq + 20, seq + 30
    return rows


def write(history: History, scene: Scenario, rows: NDArray[np.void], worker: int = 0) -> Path:
    file = history.rows_file(scene, worker)
    file.write_bytes(rows.tobytes())
    return file


def seal(history: History, scene: Scenario) -> pd.DataFrame:
    composition = Composition(scene, 1)
    return history.seal(scene, composition.share, composition.tenant, ANSWERS)


def test_every_row_is_named_and_judged(tmp_path: Path) -> None:
    history = History(tmp_path)
    write(history, MIXED, raw([end[:3] for end in ENDS[:5]]), 0)
    write(history, MIXED, raw([end[:3] for end in ENDS[5:]], 1), 1)
    seal(history, MIXED)
    history.close()
    assert [file.name for file in tmp_path.iterdir()] == ["T-8-shopify-1.parquet"]
    rows = read_history(tmp_path)
    assert tuple(rows.columns) == COLUMNS
    named = list(zip(rows["seq"], rows["status"], rows["class"], rows["tenant"], rows["outcome"], strict=True))
    assert named == [(seq, status, kind, tenant, outcome) for seq, status, _, kind, tenant, outcome in ENDS]
    assert rows["error_kind"].tolist() == [kind.name.lower() for _, _, kind, *_ in ENDS]
    assert rows["worker"].tolist() == [0] * 5 + [1] * 3
    assert rows["done_ns"].tolist() == [seq + 30 for seq in range(8)]
    constants = rows[["scenario", "scenario_run", "step", "trial", "route"]].drop_duplicates()
    assert constants.to_numpy().tolist() == [["T", "T-8-shopify-1", 8, 1, "shopify"]]


UNANSWERED = [kind for kind in ErrorKind if ErrorKind.CONNECT < kind < ErrorKind.OTHER_BODY]


@pytest.mark.parametrize("kind", UNANSWERED)
def test_what_was_on_the_wire_and_has_no_answer_is_open(tmp_path: Path, kind: ErrorKind) -> None:
    history = History(tmp_path)
    write(history, scenario(1), raw([(0, 0, kind)]))
    assert seal(history, scenario(1))["outcome"].tolist() == ["indeterminate"]


@pytest.mark.parametrize(
    ("bodies", "others"),
    [
        ([7, 7, 7, 7], []),
        # The first answer of a key is the measure, whichever request had it.
        ([7, 8, 7, 9], [3]),
        ([7, 8, 9, 8], [2]),
    ],
)
def test_a_replay_with_another_body_than_the_first_is_no_right_answer(
    tmp_path: Path, bodies: list[int], others: list[int]
) -> None:
    scene = scenario(4, shares=(Share(RequestClass.REPLAY, 4, one_key=True),), tenants=("A", "B"))
    history = History(tmp_path)
    rows = raw([(seq, 200, ErrorKind.NONE) for seq in range(4)])
    file = write(history, scene, rows)
    bodies_file(file).write_bytes(np.array(list(enumerate(bodies)), dtype="<i8").tobytes())
    composition = Composition(scene, 1)
    answers = dict.fromkeys(RequestClass, (200,))
    sealed = history.seal(scene, composition.share, composition.tenant, answers)
    assert sealed.index[sealed["error_kind"] == "other_body"].tolist() == others
    assert sealed.index[sealed["outcome"] == "refused"].tolist() == others
    assert not bodies_file(file).exists()


def test_a_row_that_a_crash_cut_off_is_the_only_one_lost(tmp_path: Path) -> None:
    history = History(tmp_path)
    rows = raw([(seq, 200, ErrorKind.NONE) for seq in range(3)])
    for cut in range(1, RESULT.itemsize):
        scene = scenario(3, trial=cut)
        file = write(history, scene, rows)
        file.write_bytes(rows.tobytes()[:-cut])
        assert seal(history, scene)["seq"].tolist() == [0, 1]


def test_what_a_crash_left_is_sealed_by_the_next_who_opens_the_folder(tmp_path: Path) -> None:
    write(History(tmp_path), MIXED, raw([end[:3] for end in ENDS]))
    seal(History(tmp_path), MIXED)
    assert len(read_history(tmp_path)) == 8


def test_sealing_again_changes_nothing(tmp_path: Path) -> None:
    """``rig settle`` seals every scenario run of a pack, most of which were sealed when they ended."""
    write(History(tmp_path), MIXED, raw([end[:3] for end in ENDS]))
    first = seal(History(tmp_path), MIXED)
    again = seal(History(tmp_path), MIXED)
    assert again["seq"].tolist() == first["seq"].tolist()
    assert len(read_history(tmp_path)) == 8


def test_a_crash_while_raw_files_are_removed_loses_nothing(tmp_path: Path) -> None:
    history = History(tmp_path)
    write(history, MIXED, raw([end[:3] for end in ENDS[:5]]), 0)
    second = write(history, MIXED, raw([end[:3] for end in ENDS[5:]], 1), 1)
    left = second.read_bytes()
    seal(history, MIXED)
    second.write_bytes(left)
    assert len(seal(History(tmp_path), MIXED)) == 8
    assert len(read_history(tmp_path)) == 8
    assert not second.exists()


def test_a_crash_while_sealing_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(History(tmp_path), MIXED, raw([end[:3] for end in ENDS]))

    def crash(_: pd.DataFrame, path: Path) -> None:
        path.write_bytes(b"PAR1 half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("rig.evidence.history.write_frame", crash)
        seal(History(tmp_path), MIXED)
    assert read_history(tmp_path).empty
    history = History(tmp_path)
    seal(history, MIXED)
    history.close()
    assert len(read_history(tmp_path)) == 8


def test_a_scenario_run_without_rows_is_an_empty_history(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert seal(history, MIXED).empty
    assert tuple(read_history(tmp_path).columns) == COLUMNS
    assert read_history(tmp_path / "nowhere").empty


def test_scenario_runs_of_several_shapes_come_together(tmp_path: Path) -> None:
    history = History(tmp_path)
    for scene in (MIXED, scenario(2, id="S1", tenants=("C",)), scenario(2, id="S1", trial=2)):
        write(history, scene, raw([(seq, 200, ErrorKind.NONE) for seq in range(2)]))
        seal(history, scene)
    rows = read_history(tmp_path)
    assert rows.groupby("scenario_run", observed=True).size().to_dict() == {
        "S1-2-shopify-1": 2,
        "S1-2-shopify-2": 2,
        "T-8-shopify-1": 2,
    }
    assert set(rows["tenant"]) == {"A", "B", "C"}


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "footer", "body", "foreign"])
def test_a_damaged_history_is_told_by_its_name(tmp_path: Path, damage: str) -> None:
    history = History(tmp_path)
    write(history, MIXED, raw([end[:3] for end in ENDS]))
    seal(history, MIXED)
    file = tmp_path / "T-8-shopify-1.parquet"
    whole = file.read_bytes()
    if damage == "foreign":
        pd.DataFrame({"seq": [1]}).to_parquet(file)
    else:
        broken = {
            "empty": b"",
            "text": b"this is no Parquet file",
            "cut": whole[: len(whole) // 2],
            "footer": whole[:-300] + bytes(280) + whole[-20:],
            "body": b"PAR1" + bytes(len(whole) // 2) + whole[len(whole) // 2 + 4 :],
        }
        file.write_bytes(broken[damage])
    with pytest.raises(EvidenceError, match=r"T-8-shopify-1\.parquet cannot be read"):
        read_history(tmp_path)


def test_attempts_of_a_request_are_counted_and_the_best_one_decides(tmp_path: Path) -> None:
    scene = replace(MIXED, redelivery=Redelivery((1.0,) * 3))
    history = History(tmp_path)
    ends = [
        (0, 500, ErrorKind.NONE), (1, 0, ErrorKind.CONNECT), (0, 0, ErrorKind.TIMEOUT), (0, 409, ErrorKind.NONE),
        (1, 0, ErrorKind.TIMEOUT), (2, 409, ErrorKind.NONE), (3, 0, ErrorKind.CONNECT), (3, 0, ErrorKind.SKIPPED),
        (4, 422, ErrorKind.NONE), (4, 500, ErrorKind.NONE),
    ]  # fmt: skip
    write(history, scene, raw(ends))
    composition = Composition(scene, 1)
    again = ANSWERS | {RequestClass.VALID: (200, 409)}
    rows = history.seal(scene, composition.share, composition.tenant, ANSWERS, again)
    assert rows["attempt"].tolist() == [1, 1, 2, 3, 2, 1, 1, 2, 1, 2]
    assert rows["outcome"].tolist() == [
        "refused", "not_sent", "indeterminate", "acknowledged",  # a repeated event may be known, a new one may not
        "indeterminate", "refused", "not_sent", "not_sent", "acknowledged", "refused",
    ]  # fmt: skip
    codes = [list(Outcome)[code].value for code in outcomes_of_requests(rows, 6)]
    assert codes == ["acknowledged", "indeterminate", "refused", "not_sent", "acknowledged", "unreported"]
    assert attempts_of_requests(rows, 6).tolist() == [3, 1, 1, 0, 2, 0]


def test_rows_are_read_while_a_worker_writes_them(tmp_path: Path) -> None:
    tail, rows = RowsTail(tmp_path / "0.rows"), raw([end[:3] for end in ENDS]).tobytes()
    assert len(tail.news()) == 0
    (tmp_path / "0.rows").write_bytes(rows[:90])
    assert tail.news()["seq"].tolist() == [0, 1]
    (tmp_path / "0.rows").write_bytes(rows)
    assert tail.news()["seq"].tolist() == [2, 3, 4, 5, 6, 7]
