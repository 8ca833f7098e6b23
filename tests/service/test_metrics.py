"""One board, many writers, one text."""

import os

from stub_server.service.intake import Reason, WebhookOutcome
from stub_server.service.metrics import FAMILIES, Board, TimeSeries, all_series, dead_letter_series, request_series

SERIES = all_series(["shop"])


def test_rows_of_two_processes_show_in_either_ones_text() -> None:
    first = Board.create(SERIES, processes=2)
    second = Board(os.dup(first.descriptor), SERIES, processes=2)
    try:
        accepted = request_series("shop", WebhookOutcome.ACCEPTED)
        first.row(0).add(accepted)
        second.row(1).add(accepted, 2)
        second.row(1).set(TimeSeries("service_pool_acquire_wait_seconds_sum"), 0.125)
        lines = first.text().splitlines()
        assert 'service_requests_total{route="shop",outcome="accepted",process="0"} 1' in lines
        assert 'service_requests_total{route="shop",outcome="accepted",process="1"} 2' in lines
        assert 'service_pool_acquire_wait_seconds_sum{process="1"} 0.125' in lines
        assert first.text() == second.text()
    finally:
        os.close(first.descriptor)
        os.close(second.descriptor)


def test_every_family_is_described_once_and_every_series_has_one() -> None:
    board = Board.create(SERIES, processes=1)
    try:
        text = board.text()
    finally:
        os.close(board.descriptor)
    assert {series.name for series in SERIES} == set(FAMILIES)
    for name, family in FAMILIES.items():
        assert text.count(f"# TYPE {name} {family.kind}\n") == 1
    assert dead_letter_series(Reason.UNSTORABLE) in SERIES
