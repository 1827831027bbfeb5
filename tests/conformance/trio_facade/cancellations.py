"""What a cancellation says of itself, in trio's words: its source, its reason, who asked for it.

Owns the translation. Reads what ours says and nothing else; a cancellation that says nothing stays
as it is.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .tasks import current_task, in_task
from .under import current_run

T = TypeVar("T")

SOURCES = {"cancel": "explicit", "deadline": "deadline", "failure": "nursery"}


class Reason:
    """What the facade gives to `cancel()`: trio's reason, and the task that asks."""

    def __init__(self, reason: str | None) -> None:
        self.reason = reason
        self.task = repr(current_task()) if in_task() else None


def retold(wait: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """Have the cancellations that end this wait speak in trio's words."""

    @functools.wraps(wait)
    async def told(*args: Any) -> T:
        try:
            return await wait(*args)
        except asyncio.CancelledError as error:
            retell(error)
            raise

    return told


def retell(error: Any) -> None:
    source = SOURCES.get(getattr(error, "source", None))
    if source is None:
        return
    reason, task = error.reason, None
    if isinstance(reason, Reason):
        reason, task = reason.reason, reason.task
    elif source == "nursery" and reason is not None:
        reason, task = failure(reason)
    text = f"cancelled due to {source}"
    text += f" with reason {reason!r}" if reason is not None else ""
    text += f" from task {task}" if task is not None else ""
    error.args = (text,)
    error.source, error.reason, error.source_task = source, reason, task


def failure(told: str) -> tuple[str, str | None]:
    """What failed, from ours: "sibling NAME failed: ERROR", or "the nursery's body failed: .."."""
    child, error = re.fullmatch(r"(?:sibling (.*)|the nursery's body) failed: (\w+)", told).groups()
    if child is not None:
        return f"child task raised exception {error}()", current_run().names.get(child)
    nursery = current_task().parent_nursery
    host = nursery.parent_task if nursery is not None else current_task()
    return f"Code block inside nursery contextmanager raised exception {error}()", repr(host)
