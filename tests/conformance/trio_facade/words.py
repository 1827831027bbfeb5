"""trio's texts for ours, where a test of trio's asks for a text and for much else.

Owns the table. Changes the text of an error in place, and nothing else of it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

#: A part of what ours says, and what trio says.
TEXTS = (
    ("this nursery is left while", "Nursery stack corrupted"),
    ("entered after it is still open", "still within its child"),
    ("left in another task than entered it", "from unrelated task"),
    ("has ended without leaving a nursery", "Nursery stack corrupted"),
    ("ended without calling task_status.started()", "exited without calling started()"),
    ("make a new one for each 'with'", "only for a single 'with' block"),
)


def translate(error: BaseException) -> None:
    """Give an error of ours, or those in a group, the text that trio has for it."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            translate(member)
    elif isinstance(error, RuntimeError):
        for ours, theirs in TEXTS:
            if ours in str(error):
                error.args = (theirs,)


async def translated(awaitable: Awaitable[T]) -> T:
    """Await, and translate what is raised."""
    try:
        return await awaitable
    except BaseException as error:
        translate(error)
        raise
