from running import running

from syncd.demo import artwork, payloads
from syncd.demo.stage import Stage


async def test_a_banner_is_mirrored_under_its_template_and_format(tmp_path):
    async with Stage() as stage, running(tmp_path, fresh=True) as daemon:
        url = stage.put("/a.png", artwork.artwork("png"))
        status, answer = await daemon.send(payloads.new_banner(url))
        assert status == 200, answer
        assert answer["status"] == "accepted"
        index = await daemon.idle()
        assert list(daemon.files().values()) == [artwork.artwork("png")]
        assert index["totals"] == {"assets": 1, "bytes": len(artwork.artwork("png")), "folders": 1, "exports": 0}
