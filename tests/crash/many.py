"""Many rounds of the crash matrix, some at a time, and a table of what was done and survived.

`PYTHONPATH=tests python -m crash.many ROUNDS [FIRST]`, or `make crash ROUNDS=1000`: as many random
rounds from the seed FIRST on, and each named step once. Ends with 1 if any was not survived.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import truth
from crash.rounds import Plan, at_step, drawn, play
from crash.saboteur import STEPS
from running import PATIENCE


async def survive(name: str, plan: Plan, done: Counter[str]) -> bool:
    """Play one round, counting each fault that was met and survived; a failure is printed."""
    with tempfile.TemporaryDirectory(prefix="syncd-round-") as folder:
        try:
            told = await play(Path(folder), plan)
        except (AssertionError, ExceptionGroup) as broken:
            sys.stderr.write(f"NOT SURVIVED: {name}\n{broken}\n")
            return False
    done.update(told.faults)
    done["deliveries answered 200"] += len(told.acknowledged)
    return True


async def main(rounds: int, first: int) -> int:
    """Play all rounds and print the table."""
    began, done, turns = time.monotonic(), Counter[str](), asyncio.Semaphore(os.cpu_count() or 1)
    plans = {f"step {step!r}": at_step(step) for step in STEPS}
    plans |= {f"ROUND={seed}": drawn(seed) for seed in range(first, first + rounds)}

    async def turn(name: str, plan: Plan) -> bool:
        async with turns:
            return await survive(name, plan, done)

    survived = await asyncio.gather(*(turn(name, plan) for name, plan in plans.items()))
    lines = [f"{count:7}  {fault}" for fault, count in sorted(done.items())]
    lines.append(f"{sum(survived)} of {len(plans)} rounds survived, {time.monotonic() - began:.0f} s")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if all(survived) else 1


if __name__ == "__main__":
    truth.LATEST = PATIENCE  # the dead write no manifests
    sys.exit(asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))
