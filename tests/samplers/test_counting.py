"""Average active sessions and CPU seconds, from frames of literals."""

from __future__ import annotations

import numpy as np
import pytest

from rig.diagnose import aas, cpu
from rig.evidence.sample_names import CLIENT_BACKEND, PIDS, Role
from rig.evidence.samples import SamplerReport, Samples, with_types

MS = 1_000_000
S = 1000 * MS


def sessions(*at_ms: int) -> list[tuple[int, ...]]:
    return [(at * MS, 0, 0, 1, 0, 0, 0) for at in at_ms]


def seen(at_ms: int, event: str, pid: int = 1, state: str = "active", kind: str = CLIENT_BACKEND) -> tuple[object, ...]:
    wait_type, _, name = event.partition(":")
    return (at_ms * MS, pid, kind, "shop", "shop", state, wait_type if name else "", name, 1, 0.0)


# --- average active sessions ---


def test_a_tick_stands_for_the_time_since_the_one_before() -> None:
    # Ticks every 50 ms, but two were missed before the one at 200: it stands for 150 ms.
    samples = Samples(
        sessions=with_types("sessions", sessions(0, 50, 200, 250)),
        activity=with_types(
            "activity",
            [
                seen(200, "IO:WalSync"),
                seen(200, "Lock:tuple", pid=2),
                seen(250, "", pid=2),
                # At work, but not for a session; and a session that is not at work.
                seen(200, "IO:DataFileWrite", pid=3, state="", kind="checkpointer"),
                seen(200, "Client:ClientRead", pid=4, state="idle in transaction"),
            ],
        ),
    )
    # 50 + 50 + 150 + 50 ms in all (the first counts as the median of the others).
    assert aas.by_event(samples).to_dict() == pytest.approx({"IO:WalSync": 0.5, "Lock:tuple": 0.5, "CPU": 50 / 300})
    assert aas.by_event(samples, 240 * MS, 260 * MS).to_dict() == {"CPU": 1.0}
    assert aas.idle_in_transaction_s(samples) == pytest.approx(0.3)


def test_a_gap_stands_for_no_more_than_half_a_second() -> None:
    samples = Samples(
        sessions=with_types("sessions", sessions(0, 50, 100, 9_000)),
        activity=with_types("activity", [seen(9_000, "Lock:tuple")]),
    )
    assert aas.by_event(samples)["Lock:tuple"] == pytest.approx(0.5 / 0.65)


def test_nothing_seen_is_nothing_said() -> None:
    assert aas.by_event(Samples()).empty
    assert aas.lock_waits(Samples()).empty
    assert aas.idle_in_transaction_s(Samples()) == 0
    assert cpu.by_process(Samples(), 0, S).empty
    assert cpu.machine(Samples(), 0, S) is None


def test_bins_in_which_nobody_looked_are_not_zero() -> None:
    samples = Samples(
        sessions=with_types("sessions", sessions(0, 50, 100, 150, 300, 350)),
        activity=with_types(
            "activity", [seen(50, "IO:WalSync"), seen(50, "IO:WalSync", pid=2), seen(350, "IO:WalSync")]
        ),
    )
    bins = aas.over_time(samples, np.array([0, 100, 200, 300, 400]) * MS)["IO:WalSync"]
    assert bins.tolist()[:2] == [1.0, 0.0]
    assert np.isnan(bins[2])
    assert bins[3] == pytest.approx(50 / 200)


def test_the_looks_at_one_wait_are_one_wait() -> None:
    def look(at_ms: int, waited_ms: int, pid: int = 1) -> tuple[object, ...]:
        what = ("transactionid", "ShareLock", "", "UPDATE ?", "UPDATE ?", "idle in transaction", "shop", 1.0)
        return (at_ms * MS, pid, 9, waited_ms / 1000, *what)

    looks = [look(1000, 10), look(1200, 210), look(1200, 50, pid=2), look(1400, 20)]
    waits = aas.lock_waits(Samples(blocking=with_types("blocking", looks)))
    assert [(w.pid, round(w.waited_s, 3), w.began_ns // MS) for w in waits.itertuples()] == [
        (1, 0.21, 990),
        (2, 0.05, 1150),
        (1, 0.02, 1380),
    ]


# --- CPU ---


def process(pid: int, role: str, ppid: int = 1, born_s: float = 0.0) -> tuple[object, ...]:
    return (0, pid, pid, ppid, role, "python", int(born_s * S))


def reading(at_s: float, pid: int, role: str, cpu_s: float, reaped_s: float = 0.0) -> tuple[object, ...]:
    return (int(at_s * S), pid, role, cpu_s, cpu_s, 0.0, reaped_s, 0.0, 0.0, 1, 1, 3, 0, 0, -1, "S")


def machine(at_s: float, busy_s: float, idle_s: float) -> tuple[object, ...]:
    return (int(at_s * S), busy_s, 0.0, idle_s, 0.0, 0.0, 0.0)


def test_a_window_is_cut_out_of_the_counters_and_a_birth_in_it_counts_whole() -> None:
    samples = Samples(
        processes=with_types("processes", [process(5, Role.SERVER), process(6, Role.SERVER, born_s=11)]),
        pids=with_types(
            "pids",
            [
                reading(10, 5, Role.SERVER, 100.0),
                reading(12, 5, Role.SERVER, 101.0),
                reading(14, 5, Role.SERVER, 103.0),
                # Seen a second after its birth, with what it used until then.
                reading(12, 6, Role.SERVER, 0.8),
                reading(14, 6, Role.SERVER, 1.0),
            ],
        ),
    )
    found = cpu.by_process(samples, 11 * S, 13 * S).set_index("pid")["cpu_s"].to_dict()
    assert found == pytest.approx({5: 0.5 + 1.0, 6: 0.8 + 0.1})


def test_what_ended_unseen_is_in_the_account_of_its_parent() -> None:
    # The postmaster (3) waited for children that used 2 s; one of them was seen, with 0.5 s at the last look.
    samples = Samples(
        processes=with_types("processes", [process(3, Role.AUXILIARY), process(7, Role.BACKEND, ppid=3, born_s=1)]),
        pids=with_types(
            "pids",
            [
                reading(0, 3, Role.AUXILIARY, 0.0),
                reading(2, 7, Role.BACKEND, 0.5),
                reading(4, 3, Role.AUXILIARY, 0.1, reaped_s=2.0),
            ],
        ),
        machine=with_types("machine", [machine(0, 0, 0), machine(4, 3.0, 5.0)]),
        reports=(SamplerReport(name=PIDS, facts={"cores": 2}),),
    )
    by_role = cpu.by_role(samples, 0, 4 * S)
    assert by_role.to_dict() == pytest.approx({Role.BACKEND: 2.0 / 4, Role.AUXILIARY: 0.1 / 4, Role.OTHER: 0.9 / 4})
    whole = cpu.machine(samples, 0, 4 * S)
    assert whole is not None
    assert (whole.cores, whole.busy_cores) == (2, 0.75)


def test_a_grandchild_is_counted_once_whoever_waited_for_it() -> None:
    # 3 waited for 4, which had waited for 5, but was not looked at after that: nothing is left uncounted.
    samples = Samples(
        processes=with_types(
            "processes",
            [process(3, "a"), process(4, "a", ppid=3, born_s=1), process(5, "a", ppid=4, born_s=1)],
        ),
        pids=with_types(
            "pids",
            [
                reading(2, 4, "a", 0.5),
                reading(2, 5, "a", 0.8),
                reading(4, 3, "a", 0.1, reaped_s=1.3),
            ],
        ),
    )
    found = cpu.by_process(samples, 0, 4 * S)
    assert found["cpu_s"].sum() == pytest.approx(0.1 + 0.5 + 0.8)
    assert cpu.UNSEEN_PID not in set(found["pid"])


def test_children_that_were_waited_for_before_their_parent_was_first_seen_count() -> None:
    samples = Samples(
        processes=with_types("processes", [process(3, "a", born_s=1)]),
        pids=with_types("pids", [reading(2, 3, "a", 0.1, reaped_s=0.4), reading(3, 3, "a", 0.1, reaped_s=0.4)]),
    )
    assert cpu.by_process(samples, 0, 3 * S)["cpu_s"].sum() == pytest.approx(0.5)
