"""One process: passes through one row so often, on one loop, with or without our engine.

    python worker.py ROW LOOP ENGINE [PASSES]      under callgrind, started with --instr-atstart=no

The passes before it counts are for the interpreter to specialise its code, and for the pools of
threads and connections to fill. The garbage collector is off while it counts: when it runs depends
on everything else in the process. Outside of callgrind it prints the seconds of CPU a pass.
"""

from __future__ import annotations

import gc
import sys
import time

import anyio
from callgrind import Switch
from rows import ROWS

WARM = 50


async def main(name: str, passes: int) -> None:
    switch = Switch()
    counted = switch.is_counted()
    async with ROWS[name][1]() as one:
        for _ in range(min(WARM, passes)):
            await one()
        gc.collect()
        gc.disable()
        begin = time.process_time()
        if counted:
            switch.start()
        for _ in range(passes):
            await one()
        if counted:
            switch.stop()
        end = time.process_time()
        gc.enable()
    if not counted:
        print((end - begin) / passes)


if __name__ == "__main__":
    row, loop, engine, *passes = sys.argv[1:]
    if engine == "ours":
        import aionursery.anyio

        aionursery.anyio.install()
    count = int(passes[0]) if passes else ROWS[row][0]
    anyio.run(main, row, count, backend_options={"use_uvloop": loop == "uvloop"})
