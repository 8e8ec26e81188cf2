"""A daemon that has nothing to do needs little; what it does without is loaded when there is something."""

from pathlib import Path

from running import running

from syncd.demo import artwork, payloads
from syncd.demo.stage import Stage


async def test_what_downloads_take_is_not_loaded_before_the_first_one(tmp_path):
    def is_loaded() -> bool:
        return "/aiohttp/" in Path(f"/proc/{daemon.process.pid}/maps").read_text()

    async with Stage() as stage, running(tmp_path, fresh=True) as daemon:
        for path in ("/", "/metrics", "/api/status", "/api/assets"):
            async with daemon.session.get(f"http://127.0.0.1:{daemon.admin}{path}") as answer:
                assert answer.status == 200
        async with daemon.session.post(f"http://127.0.0.1:{daemon.admin}/-/reload") as answer:
            assert answer.status == 200
        assert not is_loaded()
        await daemon.send(payloads.new_banner(stage.put("/a.png", artwork.artwork("png"))))
        await daemon.idle()
        assert is_loaded()
