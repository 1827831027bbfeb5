"""What a task waits for where one future is all that it needs.

The extension imports modules that use this while it is loaded, so it must never take a name out of
the extension at import.
"""

from __future__ import annotations

import asyncio
from typing import Any

from . import _aionursery


def waiter() -> asyncio.Future[Any]:
    """Return a future of the running loop. Raises RuntimeError if none runs."""
    return _aionursery.loop_state(asyncio.get_running_loop()).create_future()
