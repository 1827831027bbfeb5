"""Our locks under trio's names, with trio's `acquire_nowait`.

Owns nothing of how a lock works. The rest of trio's (statistics, an owner) ours do not have.
"""

from __future__ import annotations

from typing import Any

from . import under


def locks(would_block: type[Exception]) -> dict[str, type]:
    """Make the classes, of the library that is put under the facade."""

    class Nowait:
        """Takes a lock that is free, without a wait."""

        def acquire_nowait(self: Any) -> None:
            if self.locked():
                raise would_block
            try:
                self.acquire().send(None)
            except StopIteration:
                return
            raise AssertionError("it was free, and one has to wait for it")

    library = under.library
    return {
        "Condition": library.Condition,
        "Event": library.Event,
        "Lock": type("Lock", (Nowait, library.Lock), {}),
        "Semaphore": type("Semaphore", (Nowait, library.Semaphore), {}),
    }
