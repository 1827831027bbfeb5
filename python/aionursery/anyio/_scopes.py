"""anyio's cancel scopes: the engine's, with anyio's name and anyio's words.

Must never cancel a task itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

from anyio._core._tasks import CancelScope as BaseCancelScope

from .. import _aionursery as engine

#: That of both has two signatures for `cancel`.
_engines: Any = engine.StrictScope
_base: Any = BaseCancelScope
_cancel = engine.StrictScope.cancel


class CancelScope(_engines, _base):  # type: ignore[misc]
    """anyio's `CancelScope`. Each await of a cancelled task is cancelled, as anyio promises."""

    __slots__ = ()

    def cancel(self, reason: str | None = None) -> None:
        if not self.cancel_called:
            _cancel(self, cancel_message(self, reason))


def cancel_message(scope: object, reason: str | None) -> str:
    """Return what a CancelledError says of the scope that caused it."""
    text = f"Cancelled via cancel scope {id(scope):x}"
    if asyncio._get_running_loop() is not None and (task := asyncio.current_task()):
        text += f" by task {task.get_name()!r}"
    if reason:
        text += f"; reason: {reason}"
    return text
