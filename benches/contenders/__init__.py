"""Owns the list of contenders, in the order of the columns; must never measure."""

from __future__ import annotations

from contenders import anyio_peer, floor, ours, programs, shelf, stdlib, trio_peer
from contenders.case import Contender


def all_contenders(only_ours: bool = False) -> list[Contender]:
    modules = (ours, stdlib, anyio_peer, trio_peer, floor, programs, shelf)
    found = [contender for module in modules for contender in module.contenders()]
    return [contender for contender in found if contender.ours or not only_ours]
