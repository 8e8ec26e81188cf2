"""The Big List of Naughty Strings, wherever a payload has room for a text: published under a safe name, listed, and
shown without a terminal or a browser taking it for more than text. See README.md.
"""

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from contextlib import asynccontextmanager
from pathlib import Path

from running import SECRET, running
from scene import Scene
from truth import Truth

from syncd.demo import payloads
from syncd.demo.artwork import artwork
from syncd.demo.stage import Stage

STRINGS = json.loads(Path(__file__).with_name("strings.json").read_text())
BATCH = 100
DEVICE = re.compile(r"(CON|PRN|AUX|NUL|(COM|LPT)[0-9\u00b9\u00b2\u00b3])\s*(\..*)?", re.IGNORECASE)


def naughty(number, text, url):
    """A banner that says this everywhere but where it tells what it is and where it lies."""
    named = {"id": text, "name": text}
    return payloads.new_banner(
        url,
        visual=number,
        file=payloads.file(url, filename=text, type="png", cdn_url=text),
        format={"id": text, "width": text, "height": 1, "unit": text},
        template=named,
        project=named,
        view_url=f"https://host.test/{text}",
        edit_url=text,
    )


def unportable(path):
    """The parts of a path that some file system or program would not take."""
    return [
        part
        for part in path.split("/")
        if not part
        or part[0] in ". "
        or part[-1] in ". "
        or len(part.encode()) > 255
        or unicodedata.normalize("NFC", part) != part
        or DEVICE.fullmatch(part)
        or any(char in '<>:"|?*\\' or unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in part)
    ]


def on_a_terminal(daemon, *args):
    """Run a command whose stdout is a terminal; returns what reaches it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "syncd", *args, "--config", daemon.config],
        env={**os.environ, "TEST_SECRET": SECRET, "TERM": "dumb"},
        stdout=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 1 << 16):
                shown += piece
        except OSError:  # how a terminal ends
            os.close(ours)
    assert process.returncode == 0
    return shown.decode().replace("\r\n", "\n")


@asynccontextmanager
async def played(folder):
    """A scene whose watcher looks once, at the end: following hundreds of folders all the time would take its time."""
    async with Stage() as stage, running(folder) as daemon:
        yield (scene := Scene(stage, daemon, Truth(daemon.root)))
        await scene.tidy()
        scene.truth.look()
        assert not scene.truth.broken


async def test_a_naughty_string_is_only_ever_a_text(tmp_path):
    async with played(tmp_path) as scene:
        url = scene.put("/a.png", artwork("png"))
        banners = [naughty(number, text, url) for number, text in enumerate(STRINGS)]
        for begin in range(0, len(banners), BATCH):
            error = {"template_format_name": STRINGS[begin], "reason": STRINGS[begin + 1]}
            await scene.send(payloads.batch(banners[begin : begin + BATCH], errors=[error]))
        await scene.send(*({"event": text} for text in STRINGS if not text.isprintable()))
        await scene.daemon.idle()
        assert {one["outcome"] for one in await scene.deliveries()} == {"processed", "ignored"}
        paths = set(scene.files())
        assert len(paths) == len(STRINGS)
        assert {path: parts for path in paths if (parts := unportable(path))} == {}

        for args in (["deliveries", "--limit", "1000"], ["manifest", "export", "--format", "csv"]):
            shown = on_a_terminal(scene.daemon, *args)
            assert {char for char in shown if not char.isprintable()} == {"\n"}, args
        assert {row["path"] for row in csv.DictReader(io.StringIO(shown))} == paths

        async with scene.daemon.session.get(f"http://127.0.0.1:{scene.daemon.admin}/") as answer:
            tags = {tag.lower() for tag in re.findall(r"<\s*/?\s*([a-z!]\w*)", await answer.text(), re.IGNORECASE)}
        assert tags.isdisjoint({"script", "img", "a", "svg", "iframe", "foo", "plaintext", "marquee", "input"})


async def test_a_naughty_identity_is_kept_or_refused_with_a_reason(tmp_path):
    async with played(tmp_path) as scene:
        url = scene.put("/a.png", artwork("png"))
        seen = list(dict.fromkeys(text for text in STRINGS if text.strip() and text.isprintable()))
        for texts in (STRINGS[:BATCH], STRINGS[BATCH : 2 * BATCH], STRINGS[2 * BATCH :]):
            await scene.send(payloads.batch([payloads.new_banner(url, id=text, sharing_id=None) for text in texts]))
        await scene.daemon.idle()
        published = {entry["id"] for entry in scene.entries().values()}
        assert published == set(seen)
        reasons = "; ".join(one["reason"] for one in await scene.deliveries())
        assert reasons.count("characters that can't be seen") == sum(text not in seen for text in STRINGS)
