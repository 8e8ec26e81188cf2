"""JSON texts that other readers test themselves with, as a payload and as a value inside a good one.

`texts.json` holds their bytes as Latin-1, by their names in the two corpora; see README.md.
"""

import asyncio
import json
from pathlib import Path

from running import running

from syncd.demo import payloads
from syncd.model import Malformed
from syncd.sources.abyssale import decode

TEXTS = {
    name: text.encode("latin-1")
    for name, text in json.loads(Path(__file__).with_name("texts.json").read_text()).items()
}
OPEN_AND_REFUSED = {
    "JSONTestSuite/i_number_huge_exp", "JSONTestSuite/i_number_neg_int_huge_exp",
    "JSONTestSuite/i_number_pos_double_huge_exp", "JSONTestSuite/i_number_real_neg_overflow",
    "JSONTestSuite/i_number_real_pos_overflow", "JSONTestSuite/i_structure_UTF-8_BOM_empty_object",
}  # fmt: skip
"""The standard leaves `i_...` to the reader: we refuse what is infinite as a float, and a byte order mark."""
JANSSONS_OWN = {
    f"jansson/invalid/{name}"
    for name in (
        "invalid-second-surrogate", "lone-second-surrogate", "truncated-unicode-surrogate", "null",
        "null-byte-in-object-key", "null-escape-in-string", "too-big-negative-integer", "too-big-positive-integer",
    )
}  # fmt: skip
"""What the standard allows and jansson does not."""
REFUSED = OPEN_AND_REFUSED | {
    name for name in TEXTS if name.startswith(("JSONTestSuite/n_", "jansson/invalid")) and name not in JANSSONS_OWN
}


def inside(text):
    """A good banner whose template has this text where its name would be."""
    banner = json.dumps(payloads.new_banner("http://127.0.0.1:1/a.png", template={"id": "t", "name": "HERE"}))
    return banner.encode().replace(b'"HERE"', text)


def test_exactly_the_texts_that_are_not_json_are_refused():
    assert {name for name, text in TEXTS.items() if isinstance(decode(inside(text), None), Malformed)} == REFUSED


async def test_the_daemon_accepts_every_authentic_text_and_comes_to_an_end_with_it(tmp_path):
    deep = {"100,000 open arrays": b"[" * 100_000, "50,000 open objects": b'[{"":' * 50_000}
    bodies = [body for text in (TEXTS | deep).values() for body in (text, b" " + text + b" ", inside(text))]
    turns = asyncio.Semaphore(32)
    async with running(tmp_path, abyssale='events = ["NEW_EXPORT"]') as daemon:

        async def send(number, body):
            path = "/webhooks/abyssale" + ("/new_banner" if number % 3 == 1 else "")
            async with turns:
                status, answer = await daemon.send(body, delivery_id=f"text-{number}", path=path)
            assert status == 200, (body, answer)
            return answer["delivery"]

        stored = set(await asyncio.gather(*(send(number, body) for number, body in enumerate(bodies))))

        async def all_are_read():
            return not (await daemon.api("/api/deliveries?outcome=accepted"))["deliveries"]

        await daemon.until(all_are_read, "all are read")

        async def all_are_counted():
            counts = (await daemon.api("/api/status"))["deliveries"]
            return counts if counts["ignored"] + counts["quarantined"] == len(stored) else None

        counts = await daemon.until(all_are_counted, "all are counted")
        assert counts["accepted"] == len(stored)
        assert counts["ignored"] >= len(TEXTS) - len(REFUSED)
        assert "a bug of syncd" not in daemon.log.read_text()
