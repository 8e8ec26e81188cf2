from dataclasses import replace

from journal.filled import EXPORT, NOW, banner, filled

from syncd.journal.imports import bring_in
from syncd.journal.orders import order
from syncd.model import Arrival


def arrival(name):
    return Arrival("abyssale", name, None, "NEW_BANNER", (), b"{}", NOW)


async def brought(tmp_path, *assets):
    """Import these over a journal with a bit of everything in it."""
    async with filled(tmp_path / "journal.db"):
        pass
    with order(tmp_path / "journal.db") as db:
        return bring_in(db, arrival("import-1"), assets)


async def test_what_is_published_or_waits_is_not_stored_again(tmp_path):
    receipt = await brought(tmp_path, banner(1), banner(2), banner(3), EXPORT)
    assert (receipt.delivery, receipt.duplicate) == ("d-published", True)


async def test_one_that_is_missing_is_reason_enough(tmp_path):
    receipt = await brought(tmp_path, banner(1), banner(7))
    assert (receipt.delivery, receipt.duplicate) == ("import-1", False)


async def test_what_was_given_up_is_stored_again(tmp_path):
    assert not (await brought(tmp_path, banner(4))).duplicate


async def test_another_version_or_kind_is_something_else(tmp_path):
    assert not (await brought(tmp_path, replace(banner(1), version=2))).duplicate
    assert not (await brought(tmp_path / "b", replace(banner(1), kind="fallback"))).duplicate


async def test_a_delivery_without_assets_is_stored(tmp_path):
    assert not (await brought(tmp_path)).duplicate
