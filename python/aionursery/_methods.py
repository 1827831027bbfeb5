"""The methods of `Nursery` that are written in Python, put on the class. Owns nothing else."""

from __future__ import annotations

from ._aionursery import Nursery
from ._limit import start_when_free

for _method in (start_when_free,):
    _method.__qualname__ = f"Nursery.{_method.__name__}"
    setattr(Nursery, _method.__name__, _method)
