"""truth.rejections: an event table that may keep what was refused because it was forged, and no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rig.evidence.truth import DiscrepancyKind
from rig.model import Forgery, Outcome, RequestClass, Share
from rig.profile import Profile
from tests.truth.world import LETTERS, SALES, World, profile, scenario

FORGED = Share(RequestClass.FORGED, 2, forgery=Forgery.WRONG_SECRET)


def with_rejections(*tables: str) -> Profile:
    document = profile().model_dump(mode="json")
    document["truth"]["rejections"] = list(tables)
    return Profile.model_validate(document)


def forged_keys(world: World, store: str) -> dict[str, str]:
    """Send a valid event and two forged ones; each forged one leaves a row there. What is said of them."""
    world.run_scenario(
        scenario("forged", Share(RequestClass.VALID, 1), FORGED),
        lambda seq: Outcome.ACKNOWLEDGED if seq == 0 else Outcome.REFUSED,
    )
    valid, *forged = world.expect()
    world.keep(valid)
    for expected in forged:
        (world.bury if store == "dead" else world.keep)(expected)
    report = world.read()
    assert {each.kind for each in report.discrepancies} <= {DiscrepancyKind.FORGED}
    return {each.key: each.detail for each in report.discrepancies}


@pytest.mark.parametrize(
    ("rejections", "store", "found"),
    [
        ((), "dead", 2),
        ((LETTERS,), "dead", 0),
        ((LETTERS,), "canonical", 2),
        ((SALES,), "canonical", 0),
        ((SALES,), "dead", 2),
        ((SALES, LETTERS), "canonical", 0),
    ],
)
def test_forged_rows_are_found_but_in_a_table_of_rejections(
    make_world: Callable[[Profile], World], rejections: tuple[str, ...], store: str, found: int
) -> None:
    said = forged_keys(make_world(with_rejections(*rejections)), store)
    assert len(said) == found
    assert all(f"stored as a {store} row under tenant " in detail for detail in said.values())


def test_a_table_that_holds_no_events_is_no_table_of_rejections() -> None:
    with pytest.raises(ValueError, match=r"rejections: 'audit' is neither"):
        with_rejections("audit")
