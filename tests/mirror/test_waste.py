import asyncio

import pytest

from syncd.mirror.waste import SMALL, throw_away

sizes = pytest.mark.parametrize("size", [0, SMALL, SMALL + 1])


@sizes
async def test_the_path_is_free_at_once_and_the_file_gone_in_the_end(tmp_path, size):
    temp = tmp_path / "1"
    temp.write_bytes(bytes(size))
    throw_away(temp)
    temp.touch(exist_ok=False)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert list(tmp_path.iterdir()) == [temp]


@sizes
def test_in_another_thread_it_goes_on_the_spot(tmp_path, size):
    temp = tmp_path / "1"
    temp.write_bytes(bytes(size))
    throw_away(temp)
    assert list(tmp_path.iterdir()) == []


async def test_what_is_gone_or_can_not_be_removed_is_nobody_s_trouble(tmp_path):
    throw_away(tmp_path / "gone")
    throw_away(tmp_path)
    assert tmp_path.is_dir()
