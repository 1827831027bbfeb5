"""The virtual clock for programs that might go wrong: a loop that gives up instead of hanging."""

from __future__ import annotations

from ..virtual_clock import VirtualLoop

#: No program is so long; one that gets there goes round for ever.
MOST_TURNS = 3_000


class Hang(BaseException):
    """The program does not end; a BaseException, so that no program handles it."""


class BoundedLoop(VirtualLoop):
    """Ends a program that goes round for ever; one that waits for ever, `VirtualLoop` ends."""

    def _run_once(self) -> None:
        if self.turns > MOST_TURNS:
            self.turns = 0
            raise Hang(f"{MOST_TURNS} turns of the loop and no end")
        super()._run_once()
