"""Promise 1 at every step: whatever was answered 200 is published, wherever the daemon was killed.

`ROUND=seed` plays one random round again; many more are for `make crash`.
"""

import os

import pytest
from crash.rounds import at_step, drawn, play
from crash.saboteur import STEPS
from running import PATIENCE

SEEDS = [int(os.environ["ROUND"])] if "ROUND" in os.environ else range(6)


@pytest.fixture(autouse=True)
def _the_dead_write_no_manifests(monkeypatch):
    monkeypatch.setattr("truth.LATEST", PATIENCE)


@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_at_a_step_loses_nothing(tmp_path, step):
    told = await play(tmp_path, at_step(step))
    assert f"{step}: kill" in told.faults, "the step was never reached"


@pytest.mark.parametrize("seed", SEEDS)
async def test_kills_and_disk_errors_at_random_lose_nothing(tmp_path, seed):
    await play(tmp_path, drawn(seed))
