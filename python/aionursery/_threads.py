"""Plain functions in threads, as children: `to_thread` and `Nursery.start_thread`.

Around each call stands a nursery whose child waits for the thread: it hears a cancellation, tells
the thread, and ends only with it. So a thread is joined as any child, and what the thread runs back
in the loop belongs to the same nursery. Must never leave a thread behind that it was not told to
abandon.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

from . import _aionursery
from ._aionursery import Nursery, Task
from ._capacity import CapacityLimiter
from ._errors import Cancelled
from ._refusals import check_plain_function
from ._sync import Event
from ._worker_threads import run_in_thread

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

#: How many threads the default limiter allows at once: trio's number and anyio's.
THREADS = 40


def current_default_thread_limiter() -> CapacityLimiter:
    """Return the running loop's limiter of threads: 40 tokens, unless that is changed.

    Raises RuntimeError if no loop runs.
    """
    return limiter_of_the_loop("_aionursery_thread_limiter", THREADS)


#: The limiters of loops that take no attributes, by the names that these would have.
_limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, CapacityLimiter]] = (
    WeakKeyDictionary()
)


def limiter_of_the_loop(attribute: str, total: int) -> CapacityLimiter:
    """Return the limiter that the running loop has as an attribute; made if it has none."""
    loop = asyncio.get_running_loop()
    limiter: CapacityLimiter | None = getattr(loop, attribute, None)
    if limiter is None:
        limiter = CapacityLimiter(total)
        # Kept by the loop if it can be: what waits for a token leads to the loop, so the map would
        # keep that alive once it is closed.
        try:
            setattr(loop, attribute, limiter)
        except AttributeError:
            return _limiters.setdefault(loop, {}).setdefault(attribute, limiter)
    return limiter


class Borrower:
    """What has a token for a call. Must not lead to its loop: the token can outlive that."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name}>"


class ThreadCall:
    """A call that runs, or will run, in a thread."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], name: str) -> None:
        self.fn: Callable[..., Any] | None = fn
        self.args = args
        self.name = name
        self.borrower = Borrower(name)
        self.loop = asyncio.get_running_loop()
        self.context = copy_context()
        self.nursery = Nursery()
        self.ended = Event()
        self.value: Any = None
        self.error: BaseException | None = None
        #: The cancellation that the thread is to hear of.
        self.cancellation: asyncio.CancelledError | None = None
        self.abandoned = False

    def work(self) -> None:
        """Call the function, in the thread."""
        fn, args = self.fn, self.args
        self.fn, self.args = None, ()
        assert fn is not None
        here.call = self
        try:
            self.value = self.run(fn, args)
        except BaseException as exc:
            self.error = exc
        finally:
            here.call = None
        del fn, args

    def run(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Call the function, and return what it returns."""
        value = self.context.run(fn, *args)
        if isinstance(value, Coroutine):
            value.close()
            raise TypeError(
                f"{fn!r} is async and was called in a thread; start it with start_soon()"
            )
        return value

    def has_given_up(self) -> bool:
        """Return whether it ended by its cancellation, if it was cancelled."""
        return isinstance(self.error, asyncio.CancelledError)

    async def wait(self) -> None:
        """Wait for the end of the call, even when cancelled; the call is told."""
        try:
            await self.ended.wait()
        except asyncio.CancelledError as exc:
            # A copy: what its frames hold would keep them in a cycle.
            self.cancellation = cancelled_as(exc)
            self.tell()
            if self.abandoned:
                return
            with _aionursery.shield():
                await self.stop()

    def tell(self) -> None:
        """Do what makes the call end sooner: a thread asks by itself."""

    async def stop(self) -> None:
        """Wait until a call that was told has ended."""
        await self.ended.wait()

    async def join(self) -> Any:
        """Run the nursery around the call until it has ended, and return what it gave."""
        try:
            async with self.nursery as nursery:
                nursery.start_soon(self.wait, name=self.name)
        except asyncio.CancelledError:
            # A bare cancellation of the host; the error of the call is not lost by it.
            if self.error is None or self.has_given_up():
                raise
        if self.cancellation is not None:
            gone = self.abandoned and not self.ended.is_set()
            if gone or self.has_given_up():
                # The call was given up: the cancellation acts here, in the words of its scope.
                await _aionursery.checkpoint()
                raise cancelled_as(self.cancellation)
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None
        return self.value


class _Here(threading.local):
    call: ThreadCall | None = None


#: The call that the current thread runs.
here = _Here()


def check_function(caller: str, fn: Any) -> None:
    """Refuse what is no plain function."""
    check_plain_function(caller, fn, "an async function is started with start_soon()")


def name_of(fn: object) -> str:
    """Return what a child that runs a function is called."""
    inner: Any = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    return getattr(inner, "__qualname__", None) or repr(inner)


async def to_thread(
    fn: Callable[[*Ts], R],
    /,
    *args: *Ts,
    limiter: CapacityLimiter | None = None,
    abandon: bool = False,
) -> R:
    """Call a plain function in a thread, and wait for its end; return what it returns.

    It runs in a copy of the caller's context. If a scope cancels the caller, the thread hears of it
    from `check_cancelled`, and is waited for, for a thread cannot be stopped; what it then returns
    is returned, and the cancellation acts at the next await. A bare ``Task.cancel()`` drops what it
    returns. With ``abandon`` the thread is left alone instead: its result is dropped, an error goes
    to the loop's exception handler. ``limiter`` bounds how many run at once; not given, it is what
    `current_default_thread_limiter` returns. Raises TypeError for an async function, CancelledError
    if the function has let the cancellation end it.
    """
    check_function("to_thread", fn)
    await _aionursery.checkpoint_if_cancelled()
    call = ThreadCall(fn, args, f"thread of {name_of(fn)}")
    del fn, args
    call.abandoned = abandon
    result: R = await run_call(call, limiter or current_default_thread_limiter())
    return result


async def run_call(call: ThreadCall, limiter: CapacityLimiter) -> Any:
    """Run a call in a thread once there is a token for it, and join it."""
    await limiter.acquire_on_behalf_of(call.borrower)
    try:
        run_in_thread(call.work, functools.partial(_tell, call, limiter))
    except BaseException:
        limiter.release_on_behalf_of(call.borrower)
        raise
    return await call.join()


def _tell(call: ThreadCall, limiter: CapacityLimiter) -> None:
    """A call has ended, in its thread: tell its loop."""
    try:
        call.loop.call_soon_threadsafe(_end, call, limiter)
    except RuntimeError:
        # The loop is closed, and nothing waits for the call any more.
        limiter._take_back(call.borrower)


def _end(call: ThreadCall, limiter: CapacityLimiter) -> None:
    """A thread has ended its call: tell the child that waits."""
    try:
        limiter.release_on_behalf_of(call.borrower)
    except Exception as exc:
        # As where a program has given the token back: the call has ended all the same.
        if call.error is None or call.has_given_up():
            call.error = exc
        else:
            message = f"the limiter of the {call.name} failed"
            call.loop.call_exception_handler({"message": message, "exception": exc})
    finally:
        call.ended.set()
    if call.abandoned and call.cancellation is not None and call.error is not None:
        error, call.error = call.error, None
        if not isinstance(error, asyncio.CancelledError):
            message = f"the abandoned {call.name} failed"
            call.loop.call_exception_handler({"message": message, "exception": error})


def start_thread(
    self: Nursery,
    fn: Callable[[*Ts], R],
    /,
    *args: *Ts,
    limiter: CapacityLimiter | None = None,
    abandon: bool = False,
    name: object = None,
    shield: bool = False,
) -> Task[R]:
    """Start a plain function in a thread, as a child, and return its task.

    The nursery waits for the thread as for any child, and the thread's error is the child's.
    `to_thread` says what a cancellation does, and what ``limiter`` and ``abandon`` are. Raises
    TypeError for an async function; otherwise as `start_soon`.
    """
    check_function("start_thread", fn)
    run = functools.partial(to_thread, fn, *args, limiter=limiter, abandon=abandon)
    return self.start_soon(run, name=name or name_of(fn), shield=shield)


def check_cancelled() -> None:
    """Raise Cancelled if the call that runs in this thread has been cancelled.

    For long functions in `to_thread` and `start_thread`, to be called wherever they can end. Raises
    RuntimeError in any other thread.
    """
    cancellation = current_call("check_cancelled").cancellation
    if cancellation is not None:
        raise cancelled_as(cancellation)


def current_call(function: str) -> ThreadCall:
    """Return the call that runs in this thread."""
    call = here.call
    if call is None:
        raise RuntimeError(
            f"{function}() is for functions that run in to_thread() or start_thread(); this is "
            "another thread"
        )
    return call


def cancelled_as(cancellation: asyncio.CancelledError) -> asyncio.CancelledError:
    """Return the same cancellation, to be raised elsewhere."""
    if isinstance(cancellation, Cancelled):
        return Cancelled(cancellation.reason, cancellation.source)
    return asyncio.CancelledError(*cancellation.args)
