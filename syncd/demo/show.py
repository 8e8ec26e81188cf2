"""`syncd demo`: the main job on this machine, with a stand-in for the platform, in under a minute.

It runs the daemon as a process of its own with a config in a fresh folder, posts signed events
to it as the platform would, and waits for each to be done. What it made stays for looking at.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork
from syncd.demo.ports import free_port
from syncd.demo.send import deliver
from syncd.demo.stage import Stage
from syncd.errors import SyncdError

_PATIENCE = 20.0
_TERMINATED = 128 + signal.SIGTERM  # what a shell says of one whom the signal has ended
_SECRET_VARIABLE = "ABYSSALE_SIGNING_SECRET"  # noqa: S105 - the name of a variable

_CONFIG = """\
# The config of the demo. Edit it while `syncd run --config {path}` runs.
[server]
listen = "127.0.0.1:{port}"

[admin]
listen = "127.0.0.1:{admin}"

[sources.abyssale]
secret = {{ file = "signing-secret" }}

[mirror]
root = "../mirror"
min_free = "0"

[journal]
url = "sqlite:///../state/journal.db"

[download]
allowed_hosts = ["127.0.0.1"]   # the stand-in; leave it out for the real platform
allow_http = true
allow_private = true

[retry]
first = "100ms"

[manifest]
delay = "200ms"
"""


def demo(folder: Path | None) -> int:
    """Run the demo in `folder`, else in a fresh temp folder; returns the exit code. Raises SyncdError."""
    place = folder or Path(tempfile.mkdtemp(prefix="syncd-demo-"))
    if folder is not None:
        if folder.exists() and any(folder.iterdir()):
            raise SyncdError(f"{folder} is not empty", hint="give the demo a folder of its own")
        folder.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(_until_told(_Show(place.absolute()).run()))
    except asyncio.CancelledError:
        return _TERMINATED
    return 0


async def _until_told(show: Coroutine[Any, Any, None]) -> None:
    """Let the show go on until SIGTERM, whose usual end would leave its daemon behind."""
    showing = asyncio.ensure_future(show)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, showing.cancel)
    await showing


class _Show:
    """One run: the daemon's process, the stage, and what is said about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "mirror"
        self.config = folder / "config" / "sync.toml"
        self.log = folder / "daemon.log"
        self.port, self.admin = free_port(), free_port()
        self.secret = f"whsec_{secrets.token_hex(32)}"
        self.session: aiohttp.ClientSession
        self.stage: Stage

    async def run(self) -> None:
        began = time.monotonic()
        self._say(f"syncd demo in {self.folder}\n")
        self._write_config()
        async with aiohttp.ClientSession() as self.session, Stage() as self.stage:
            daemon = await self._start()
            try:
                await self._until(lambda: self._is_up(daemon))
                for act in (self._banners, self._versions, self._faults, self._export, self._strangers, self._edits):
                    await act()
            finally:
                with suppress(ProcessLookupError):  # ^C on a terminal goes to both
                    daemon.send_signal(signal.SIGTERM)
                code = await daemon.wait()
        self._say(f"\nSIGTERM: the daemon drained and left with exit code {code}.\n")
        self._show_tree()
        self._say(f"\nDone in {time.monotonic() - began:.1f} s. Where to look:")
        self._say(f"  the tree      {self.root}")
        self._say(f"  the index     {self.root / 'manifest.json'}")
        self._say(f"  the inbox     syncd deliveries --config {self.config}")
        self._say(f"  the log       {self.log}")
        self._say(f"  run it again  syncd run --config {self.config}")

    async def _banners(self) -> None:
        self._say("1. Banners arrive, one by one and as a batch; the platform delivers one of them twice.")
        first = payloads.new_banner(self._put("spring_300x250.png", artwork("png")))
        await self._send("NEW_BANNER  a PNG", first, delivery_id="d" * 64)
        await self._send("NEW_BANNER  the same delivery again", first, delivery_id="d" * 64)
        story = {"id": "story", "unit": "px", "width": 1080, "height": 1920}
        print_ = {"id": "d1e2f3a4-b5c6-4d7e-8f90-a1b2c3d4e5f8", "name": "Brochure"}
        html5 = payloads.file(self._put("animated.zip", artwork("zip")))
        html5["fallback_image_url"] = self._put("animated.jpeg", artwork("jpeg"))
        await self._send(
            "NEW_BANNER_BATCH  a video, a brochure, an HTML5 banner",
            payloads.batch(
                [
                    payloads.new_banner(self._put("clip.mp4", artwork("mp4")), visual=2, format=story),
                    payloads.new_banner(
                        self._put("brochure.pdf", artwork("pdf")), visual=3, format=None, template=print_
                    ),
                    payloads.new_banner(html5["url"], visual=4, file=html5),
                ]
            ),
        )
        await self._send("TEMPLATE_STATUS  approved", payloads.template_status("APPROVED"))

    async def _versions(self) -> None:
        self._say("2. Version 3 of a banner arrives before version 2: the newer one stays.")
        name = "summer_728x90.png"
        for version in (3, 2):
            url = self._put(f"v{version}/{name}", artwork("png", version))
            await self._send(f"NEW_BANNER  version {version}", payloads.new_banner(url, visual=5, version=version))

    async def _faults(self) -> None:
        self._say("3. A download fails twice, then works.")
        url = self._put("flaky.jpeg", artwork("jpeg", 2))
        self.stage.script("/flaky.jpeg", 503, 503)
        await self._send("NEW_BANNER  whose file answers 503, 503, 200", payloads.new_banner(url, visual=6))

    async def _export(self) -> None:
        self._say("4. An export is unpacked and appears as a whole.")
        members = {f"banners/{n}.png": artwork("png", n) for n in range(1, 4)} | {"print/brochure.pdf": artwork("pdf")}
        await self._send("NEW_EXPORT", payloads.export(self._put("export.zip", archive(members))))

    async def _strangers(self) -> None:
        self._say("5. Somebody else knocks.")
        body = json.dumps(payloads.new_banner(self.stage.url("/evil.png"), visual=7)).encode()
        status, answer = await self._deliver(body, secret="whsec_guessed")  # noqa: S106 - invented
        self._say(f"   a forged signature → {status} {json.dumps(answer)}")

    async def _edits(self) -> None:
        self._say("6. The config is edited while the daemon runs.")
        text = self.config.read_text()
        before = (await self._status())["config"]["generation"]
        began = time.monotonic()
        self.config.write_text(text.replace('delay = "200ms"', 'delay = "200ms"\nchecksums = true'))
        await self._until(lambda: self._generation_is_beyond(before))
        self._say(f"   checksums = true → in force after {(time.monotonic() - began) * 1000:.0f} ms")
        await self._until(lambda: _now(any(self.root.rglob("SHA256SUMS"))))
        self._say("   SHA256SUMS appear beside the manifests")
        good = self.config.read_text()
        self.config.write_text(good.replace("checksums = true", "checksum = true"))
        error = await self._until(self._config_error)
        self._say(f"   a typing error → refused: line {error['line']}: {error['key']}: {error['message']}")
        self.config.write_text(good)
        await self._until(self._config_is_well)
        self._say("   mended → in force again; the daemon never stopped")

    # The means

    def _write_config(self) -> None:
        self.config.parent.mkdir(parents=True, exist_ok=True)
        secret_file = self.config.with_name("signing-secret")
        secret_file.touch(mode=0o600)
        secret_file.write_text(self.secret)
        self.config.write_text(_CONFIG.format(path=self.config, port=self.port, admin=self.admin))

    async def _start(self) -> asyncio.subprocess.Process:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SYNCD_")}
        with self.log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "syncd", "run", "--config", str(self.config), stderr=output, env=environ
            )

    async def _is_up(self, daemon: asyncio.subprocess.Process) -> bool:
        if daemon.returncode is not None:
            raise SyncdError(f"the daemon did not start:\n{self.log.read_text()}")
        try:
            async with self.session.get(f"http://127.0.0.1:{self.admin}/readyz") as answer:
                return answer.status == 200  # noqa: PLR2004 - HTTP
        except aiohttp.ClientError:
            return False

    def _put(self, name: str, content: bytes) -> str:
        return self.stage.put(f"/{name}", content)

    async def _deliver(
        self, body: bytes, *, secret: str | None = None, delivery_id: str | None = None
    ) -> tuple[int, Any]:
        return await deliver(
            f"http://127.0.0.1:{self.port}/webhooks/abyssale",
            body,
            secret=secret or self.secret,
            delivery_id=delivery_id or secrets.token_hex(32),
            session=self.session,
        )

    async def _send(self, what: str, payload: dict[str, Any], *, delivery_id: str | None = None) -> None:
        """Deliver a payload, wait until it is done, and say what became of it."""
        status, answer = await self._deliver(json.dumps(payload).encode(), delivery_id=delivery_id)
        self._say(f"   {what} → {status} {answer['status']}")
        if answer["status"] == "duplicate":
            return

        async def ended() -> Any:
            async with self.session.get(f"http://127.0.0.1:{self.admin}/api/deliveries/{answer['delivery']}") as found:
                delivery = await found.json()
            return delivery if delivery["outcome"] != "accepted" else None

        for asset in (await self._until(ended))["assets"]:
            tries = f" ({asset['reason']})" if asset["reason"] else ""
            self._say(f"      {asset['state']}: {asset['path'] or 'no file'}{tries}")

    async def _status(self) -> Any:
        async with self.session.get(f"http://127.0.0.1:{self.admin}/api/status") as answer:
            return await answer.json()

    async def _generation_is_beyond(self, before: int) -> bool:
        return bool((await self._status())["config"]["generation"] > before)

    async def _config_error(self) -> Any:
        return (await self._status())["config"]["error"]

    async def _config_is_well(self) -> bool:
        return await self._config_error() is None

    async def _until(self, true: Callable[[], Awaitable[Any]]) -> Any:
        """Ask another process until it says yes."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while not (value := await true()):  # noqa: ASYNC110 - what it waits for is in another process
                    await asyncio.sleep(0.01)
                return value
        except TimeoutError:
            raise SyncdError(f"the daemon did not get there within {_PATIENCE:g} s", hint=f"see {self.log}") from None

    def _show_tree(self) -> None:
        self._say(f"{self.root}/")
        _print_folder(self.root, "  ")
        index = json.loads((self.root / "manifest.json").read_bytes())
        totals = index["totals"]
        self._say(
            f"\nmanifest.json, sequence {index['sequence']}: {totals['assets']} assets with {totals['bytes']} bytes"
            f" in {totals['folders']} folders, {totals['exports']} export"
        )

    @staticmethod
    def _say(text: str) -> None:
        print(text, flush=True)  # noqa: T201 - the demo talks to a person


def _print_folder(folder: Path, indent: str) -> None:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            print(f"{indent}{path.name}/")  # noqa: T201 - the demo talks to a person
            _print_folder(path, indent + "  ")
        else:
            print(f"{indent}{path.name}  {path.stat().st_size} bytes")  # noqa: T201 - the demo talks to a person


async def _now(value: bool) -> bool:  # noqa: FBT001 - a value on its way
    return value
