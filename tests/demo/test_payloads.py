import orjson
import pytest

from syncd.demo import payloads
from syncd.model import Event
from syncd.sources.abyssale import decode

URL = "https://files.example.test/acme/a.png?signature=1"
BANNER = payloads.new_banner(URL)


@pytest.mark.parametrize(
    ("payload", "name", "assets"),
    [
        (BANNER, "NEW_BANNER", 1),
        (payloads.batch([BANNER, BANNER]), "NEW_BANNER_BATCH", 2),
        (payloads.callback([BANNER]), "NEW_BANNER_BATCH", 1),
        (payloads.export(URL), "NEW_EXPORT", 1),
        (payloads.template_status("APPROVED"), "TEMPLATE_STATUS", 0),
    ],
)
def test_each_payload_is_understood_as_what_it_is(payload, name, assets):
    event = decode(orjson.dumps(payload), None)
    assert isinstance(event, Event)
    assert (event.name, len(event.assets), event.unclear) == (name, assets, ())


def test_versions_share_a_visual_and_visuals_share_nothing():
    first, newer, other = (
        payloads.new_banner(URL, visual=visual, version=version) for visual, version in ((1, 1), (1, 2), (2, 1))
    )
    assert first["sharing_id"] == newer["sharing_id"] != other["sharing_id"]
    assert len({first["id"], newer["id"], other["id"]}) == 3


def test_fields_replace_what_is_usual():
    banner = payloads.new_banner(URL, file=payloads.file(URL, filename="b.png"), format=None)
    assert banner["file"] == {"type": "png", "url": URL, "filename": "b.png"}
    assert banner["format"] is None
    assert payloads.batch([], errors=["e"])["errors"] == ["e"]
