import pytest
from pipeline.works import announced, works_at

from syncd.demo import artwork, payloads
from syncd.pipeline import rules_of
from syncd.pipeline.publishing import recover


@pytest.fixture
async def works(tmp_path):
    async with works_at(tmp_path) as works:
        yield works


async def test_a_file_that_had_moved_before_a_fault_is_named_without_anything_else_happening(works):
    content = artwork.artwork("png", 1)
    job, fetched = await announced(works, payloads.new_banner("https://x.abyssale.com/a.png"), content)
    (placement,) = await works.journal.place([(job, fetched)], rules_of(works.live.config))
    path = works.store.root / placement.key
    path.parent.mkdir(parents=True)
    fetched.path.rename(path)
    await recover(works)
    assert works.changed.is_set()
    (folder,), _ = await works.journal.stale(1)
    assert [listed.key for listed in folder.listed] == [placement.key]
