"""How many programs a run draws, and how a failing one is told."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

#: How many programs each test draws.
PROGRAMS = int(os.environ.get("AIONURSERY_RANDOM_PROGRAMS", "1000"))


def drawn(share: float = 1.0) -> settings:
    """Random in each run; a failing program is minimised and its blob printed."""
    return settings(
        max_examples=max(1, round(PROGRAMS * share)),
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
