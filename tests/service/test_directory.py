"""The cache of tenants and taxonomy, over a fake source and a fake clock."""

from stub_server.service.directory import Directory, KnownTenant, Taxonomy


class FakeSource:
    def __init__(self) -> None:
        self.tenants: dict[str, KnownTenant] = {}
        self.asked = 0
        self.taxonomy = Taxonomy({}, unknown="other", absent="direct")

    async def find_tenant(self, api_key_sha256: str) -> KnownTenant | None:
        self.asked += 1
        return self.tenants.get(api_key_sha256)

    async def load_taxonomy(self) -> Taxonomy:
        self.asked += 1
        return self.taxonomy


DIGEST_OF_KEY = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"


async def test_what_was_found_is_believed_until_it_is_too_old() -> None:
    source, now = FakeSource(), [0.0]
    directory = Directory(source, 30, now_s=lambda: now[0])
    source.tenants[DIGEST_OF_KEY] = KnownTenant("a", {})
    for now[0] in (0.0, 1.0, 29.9):
        assert await directory.tenant("key") == KnownTenant("a", {})
    assert source.asked == 1
    source.tenants.clear()
    now[0] = 30.0
    assert await directory.tenant("key") is None


async def test_what_was_not_found_is_asked_again() -> None:
    source = FakeSource()
    directory = Directory(source, 30, now_s=lambda: 0.0)
    assert await directory.tenant("key") is None
    source.tenants[DIGEST_OF_KEY] = KnownTenant("a", {})
    assert await directory.tenant("key") is not None
    assert await directory.tenant("\udcff") is None


async def test_the_taxonomy_is_loaded_once_per_ttl() -> None:
    source, now = FakeSource(), [0.0]
    directory = Directory(source, 30, now_s=lambda: now[0])
    for now[0] in (0.0, 10.0, 31.0):
        assert await directory.taxonomy() is source.taxonomy
    assert source.asked == 2


def test_secrets_are_not_shown() -> None:
    assert "hidden" not in f"{KnownTenant('a', {'stripe': b'hidden'})!r}"
