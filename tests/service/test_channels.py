"""Many spellings, one channel."""

import pytest

from stub_server.service.directory import Taxonomy

TAXONOMY = Taxonomy({"fb": "facebook_paid", "FB Ads": "facebook_paid"}, unknown="other", absent="direct")


@pytest.mark.parametrize(
    ("source", "channel"),
    [
        ("fb", "facebook_paid"),
        (" FB ", "facebook_paid"),
        ("fb_ads", "facebook_paid"),
        ("FB  ADS", "facebook_paid"),
        ("fb-ads", "facebook_paid"),
        ("fbx", "other"),
        ("", "direct"),
        ("  ", "direct"),
        (None, "direct"),
    ],
)
def test_channel_of(source: str | None, channel: str) -> None:
    assert TAXONOMY.channel_of(source) == channel
