"""A repair that comes some time after the look: what has changed meanwhile is left as it is."""

from journal.press import banner, content_of, press_at

from syncd.audit import Finding, SetAside
from syncd.audit.repairing import Repair
from syncd.journal import auditing
from syncd.store.folders import opened

PATH = "Spring sale/square/a.png"


async def test_a_file_that_was_published_where_something_stray_was_found_stays(tmp_path):
    path, root = tmp_path / "journal.db", tmp_path / "mirror"
    (root / PATH).parent.mkdir(parents=True)
    other = root / "Spring sale/square/other.png"
    for file in (root / PATH, other):
        file.write_bytes(content_of(banner()))
    found = [Finding("stray", one, "nothing names it", SetAside()) for one in (PATH, "Spring sale/square/other.png")]
    async with press_at(path) as press:
        await press.announce(banner())
        await press.publish()
        with auditing.looking(path) as db, opened(str(root)) as folder:
            repair = Repair(path, db, folder, press.rules, lambda: True)
            repair.apply(found)
    assert (root / PATH).read_bytes() == content_of(banner())
    assert list(repair.aside) == ["Spring sale/square/other.png"]
    assert not other.exists()
