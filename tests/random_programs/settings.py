"""How many programs a run draws, and how a failing one is told."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

#: Unset, each test draws the same 1000 programs in every run; set, so many others each time.
WANTED = os.environ.get("AIONURSERY_RANDOM_PROGRAMS")
PROGRAMS = int(WANTED or "1000")
#: Those that are held against trio are cheap, and have numbers: the first so many.
AGAINST_TRIO = int(WANTED or "2000")


def drawn(share: float = 1.0) -> settings:
    """A failing program is minimised, and the blob printed that draws it again."""
    return settings(
        max_examples=max(1, round(PROGRAMS * share)),
        deadline=None,
        database=None,
        derandomize=WANTED is None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
