"""Archives that other libraries test themselves with: whole or refused, as sorted by hand, and never anything else.

`archives.tar.xz` has what is well-formed below `whole/` and what is damaged, encrypted, split or ambiguous
below `refused/`; see README.md.
"""

import io
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import pytest
from scene import watched

from syncd.demo import payloads
from syncd.mirror.unzip import ArchiveRefused, read_content, read_directory

with tarfile.open(Path(__file__).with_name("archives.tar.xz")) as corpus:
    ARCHIVES = {member.name: corpus.extractfile(member).read() for member in corpus}


def bytes_at(data, length, start):
    """What `os.pread` is to a file."""
    return data[start : start + length]


def contents(archive):
    """What an honest archive holds, as Python's own library reads it."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [opened.read(entry) for entry in opened.infolist() if not entry.is_dir()]


async def test_each_archive_is_published_whole_or_failed_with_a_reason(tmp_path):
    async with watched(tmp_path) as scene:
        for number, (name, archive) in enumerate(ARCHIVES.items()):
            if name.startswith("whole/"):
                scene.truth.exports(contents(archive))
            url = scene.stage.put(f"/{number}.zip", archive)
            await scene.send(payloads.export(url, export_id=name.replace("/", "-")))
        await scene.daemon.idle()  # and not tidy: folders that are empty in the archive stay empty
        assets = [asset for delivery in await scene.deliveries() for asset in delivery["assets"]]
        states = {asset["id"]: asset["state"] for asset in assets}
        expected = {"whole": "published", "refused": "failed"}
        assert states == {name.replace("/", "-"): expected[name.partition("/")[0]] for name in ARCHIVES}
        reasons = [asset["reason"] for asset in assets if asset["state"] == "failed"]
        assert all(reason.startswith("the archive is refused: ") for reason in reasons)


@pytest.mark.parametrize("value", [0, 0xFF])
def test_a_directory_with_any_byte_changed_is_read_or_refused(value):
    outcomes = set()
    for name, archive in ARCHIVES.items():
        begin = max(archive.find(b"PK\1\2"), len(archive) - 400)
        for at in range(begin, len(archive)):
            changed = archive[:at] + bytes([value]) + archive[at + 1 :]
            try:
                for entry in read_directory(io.BytesIO(changed), 1000):
                    sum(map(len, read_content(partial(bytes_at, changed), entry)))
                outcomes.add("read")
            except ArchiveRefused:
                outcomes.add("refused")
            except Exception as error:
                raise AssertionError(f"{name}, byte {at}") from error
    assert outcomes == {"read", "refused"}
