"""What asks a shielded task to cancel: code outside its shield, or a block inside it.

A shield holds a bare ``Task.cancel()`` back. But ``asyncio.timeout`` and ``asyncio.TaskGroup``, and
others' scopes, cancel their own task by that very call, and inside a shield they work as ever. Owns
the one way to tell the two apart: where the block stands among those that the task has entered.
Must never change anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import sys
from collections.abc import Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

_EXITS = ("__exit__", "__aexit__")
#: References to a copy that only its frame has: the frame's, the variable's, and the argument's.
_FRAMES_OWN = 3


def asked_from_inside(task: asyncio.Task[Any]) -> bool:
    """Say whether the caller's caller is a block that the task has entered inside its shields."""
    asker = _self_of(sys._getframe(1))
    if not any(hasattr(asker, name) for name in _EXITS):
        return False
    inside = False
    for block in _entered(task, asker):
        if block is asker:
            inside = True
        elif _shields(block, task):
            inside = False
    return inside


def _self_of(frame: FrameType) -> Any:
    """What a running function has as ``self``, or else as its first argument, if it has either."""
    code = frame.f_code
    names = (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
    if "self" not in names and not code.co_argcount:
        return None
    variables = frame.f_locals
    asker = variables.get("self" if "self" in names else names[0])
    # Before CPython 3.13 the frame keeps a copy of its variables from now on, and with it what they
    # refer to. They are taken out unless the function has asked for it, too.
    if sys.version_info < (3, 13) and sys.getrefcount(variables) == _FRAMES_OWN:
        for name in names:
            variables.pop(name, None)
    return asker


def _shields(block: Any, task: asyncio.Task[Any]) -> bool:
    # Not at the top: the extension imports this module.
    from ._aionursery import shields

    return shields(block, task)


def _entered(task: asyncio.Task[Any], asker: Any) -> Iterator[Any]:
    """What a task has entered and not left, from the outside in.

    A class may enter a block that it has, as a group of anyio's does with its scope. That block
    stands on no stack, and counts as entered where the object does that has it.
    """
    blocks = [*_blocks(task.get_coro(), set())]
    on_stacks = {id(block) for block in blocks}
    for block in blocks:
        yield block
        for part in _referents(block):
            if id(part) not in on_stacks and (part is asker or _shields(part, task)):
                yield part


def _referents(owner: Any) -> Iterator[Any]:
    """What an object refers to by itself or by its attributes. Runs none of its code."""
    for item in gc.get_referents(owner):
        if isinstance(item, dict):
            yield from item.values()
        else:
            yield item


def _blocks(code: Any, seen: set[int]) -> Iterator[Any]:
    """What a suspended coroutine or generator has entered and not left, from the outside in.

    Each block that is not being left leaves the means to leave it on the stack of its frame, where
    the garbage collector sees it: a bound method, and from 3.14 on the method and the object.
    """
    if id(code) in seen or asyncio.isfuture(code):
        return
    seen.add(id(code))
    awaited = _awaited(code)
    frame = getattr(code, "cr_frame", None)
    if frame is not None and frame.f_code.co_name in _EXITS:
        # It is being left, and stands on the stack no more.
        yield _self_of(frame)
    exits = False
    for item in gc.get_referents(code):
        if item is awaited:
            continue
        if exits:
            exits = False
            yield from _opened(item, seen)
        elif getattr(item, "__name__", None) in _EXITS and callable(item):
            bound = getattr(item, "__self__", None)
            if bound is None:
                exits = True
            else:
                yield from _opened(bound, seen)
        elif isinstance(item, AsyncGeneratorType):
            # An `async for` reads it, or awaits a step of it.
            yield from _blocks(item, seen)
    if awaited is not None:
        yield from _blocks(awaited, seen)
    elif not isinstance(code, (CoroutineType, GeneratorType, AsyncGeneratorType)):
        # What an `__await__` has returned, which has no frame of its own.
        for item in _referents(code):
            if hasattr(type(item), "__next__") or isinstance(item, CoroutineType):
                yield from _blocks(item, seen)


def _awaited(code: Any) -> Any:
    for name in ("cr_await", "gi_yieldfrom", "ag_await"):
        awaited = getattr(code, name, None)
        if awaited is not None:
            return awaited
    return None


def _opened(manager: Any, seen: set[int]) -> Iterator[Any]:
    """Yield what stands behind a context manager that is made of others."""
    generator = getattr(manager, "gen", None)
    if inspect.isgenerator(generator) or inspect.isasyncgen(generator):
        yield from _blocks(generator, seen)
    elif isinstance(manager, (contextlib.ExitStack, contextlib.AsyncExitStack)):
        for _, callback in getattr(manager, "_exit_callbacks", ()):
            yield from _opened(getattr(callback, "__self__", None), seen)
    else:
        yield manager
