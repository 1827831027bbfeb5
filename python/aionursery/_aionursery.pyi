"""Types of the extension module. What is public is imported by `aionursery`."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from types import GenericAlias, TracebackType
from typing import Any, Generic, Literal, Protocol, Self, TypeVar, TypeVarTuple, final, overload

from typing_extensions import disjoint_base

from ._called import TaskStatus
from ._capacity import CapacityLimiter
from ._channel_parts import ChannelStatistics
from ._sync import Event

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_R = TypeVar("_R")
_V = TypeVar("_V")
_V_co = TypeVar("_V_co", covariant=True)
_A = TypeVar("_A")
_B = TypeVar("_B")
_C = TypeVar("_C")
_A_contra = TypeVar("_A_contra", contravariant=True)
_B_contra = TypeVar("_B_contra", contravariant=True)
_C_contra = TypeVar("_C_contra", contravariant=True)
_Ts = TypeVarTuple("_Ts")

@disjoint_base
class Task(asyncio.Task[_T_co]):
    """A coroutine that runs on an event loop: asyncio.Task in every respect, on a ready queue of its own."""

    def __init__(
        self,
        coro: Generator[Any, None, _T_co] | Coroutine[Any, Any, _T_co],
        *,
        loop: asyncio.AbstractEventLoop | None = ...,
        name: object = ...,
        context: Context | None = ...,
        eager_start: bool = ...,
    ) -> None: ...
    def cancel(self, msg: object = None) -> bool:
        """Ask the task to cancel itself; return False if it has ended.

        Raises RuntimeError from another thread than the one that runs the loop, RecursionError if tasks
        that await each other in a circle would be asked without end.
        """
    def get_context(self) -> Context:
        """Return the context that the task runs in."""
    def cancel_and_wait(self, msg: object = None) -> Coroutine[Any, Any, None]:
        """Cancel the task and wait until it has ended.

        Returns when it has, whatever it ended with. If the caller is cancelled meanwhile,
        it stops waiting and the CancelledError goes on.
        """

@final
class CancelScope:
    """A part of a program that can be cancelled as one, may have a deadline, and may be shielded.

    Used once, by a plain with. deadline is a moment on the loop's clock at which it is cancelled;
    shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go
    on awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is none);
    reason is what cancel() gives if it is given none. Raises ValueError for a NaN and for a negative
    cleanup or relative_deadline, RuntimeError if it is entered twice, outside of a task, or left in
    another task or another order than entered.
    """

    def __new__(
        cls,
        *,
        deadline: float = ...,
        shield: bool = False,
        cleanup: float | None = ...,
        reason: object = None,
        relative_deadline: float | None = None,
    ) -> CancelScope: ...
    def __enter__(self) -> CancelScope: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool: ...
    def cancel(self, reason: object = None) -> None:
        """Cancel everything in the scope, up to shields.

        The first cancellation counts; before entry it acts at the first await. Raises RuntimeError
        from another thread.
        """
    def cancel_after(self, seconds: float) -> None:
        """Cancel the scope `seconds` from now, or from its entry if it is not entered yet.

        It sets the deadline, and never puts it off: an earlier one stays. Raises ValueError if
        seconds is negative or NaN, RuntimeError from another thread.
        """
    # Put on the class by `_methods`.
    def on_cancel(self, fn: Callable[[*_Ts], object], /, *args: *_Ts) -> Callable[[], bool]:
        """Call ``fn(*args)`` in the moment in which a cancellation reaches the scope.

        For foreign code that must be stopped at once: an interrupt of a C library, the abort of a
        transfer. It is called once, synchronously, by whatever cancels: the scope's own `cancel`, its
        deadline, a failure, a scope around it up to shields; at once if that has happened before. A
        bare ``Task.cancel()`` cancels no scope, and neither does the end of the block. All tasks have
        been told before; it runs in a copy of the context in which it was registered. What it raises
        goes to the loop's exception handler.

        Returns a function that takes it off again and returns whether it would still have been called.
        Leaving the block does so, too. Raises TypeError for an async function, RuntimeError before
        entry, after the block and in a thread that is not the loop's.
        """
    @property
    def cancel_called(self) -> bool:
        """Whether the scope was cancelled, by whatever means."""
    @property
    def cancelled_caught(self) -> bool:
        """Whether the scope has swallowed the cancellation that it caused."""
    @property
    def reason(self) -> Any:
        """Why the scope was cancelled, in the words of its canceller."""
    @property
    def source(self) -> Literal["cancel", "failure", "deadline", "host"] | None:
        """What cancelled the scope: "cancel", "failure", "deadline" or "host"; None if nothing has."""
    @property
    def deadline(self) -> float:
        """When the scope is cancelled by itself: seconds on the loop's clock, infinity for never.
        It can be set at any time.
        """
    @deadline.setter
    def deadline(self, value: float) -> None: ...
    @property
    def shield(self) -> bool:
        """Whether the scope keeps out cancellation from outside. It can be set at any time."""
    @shield.setter
    def shield(self, value: bool) -> None: ...
    @property
    def cleanup(self) -> float | None:
        """For how many seconds a cancelled task in the scope may still await: None is for ever, 0 not
        at all. Where none was given, what is inherited. It can be set at any time.
        """
    @cleanup.setter
    def cleanup(self, value: float | None) -> None: ...

# A scope that ends its block by an error: a type checker may take it that code after the block runs
# only where the block has come to its end. At run time it is a CancelScope, and as one it swallows
# what its own cancel() has caused.
class _Unswallowing(CancelScope):  # type: ignore[misc]
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Literal[False]: ...

# What `Nursery.start` takes, with as many arguments. No protocol has both a variadic type variable and
# a keyword that every checker understands.
class _Starts(Protocol[_V_co]):
    def __call__(self, *, task_status: TaskStatus[_V_co]) -> Awaitable[object]: ...

class _Starts1(Protocol[_V_co, _A_contra]):
    def __call__(self, a: _A_contra, /, *, task_status: TaskStatus[_V_co]) -> Awaitable[object]: ...

class _Starts2(Protocol[_V_co, _A_contra, _B_contra]):
    def __call__(
        self, a: _A_contra, b: _B_contra, /, *, task_status: TaskStatus[_V_co]
    ) -> Awaitable[object]: ...

class _Starts3(Protocol[_V_co, _A_contra, _B_contra, _C_contra]):
    def __call__(
        self, a: _A_contra, b: _B_contra, c: _C_contra, /, *, task_status: TaskStatus[_V_co]
    ) -> Awaitable[object]: ...

@disjoint_base
class Nursery:
    """A block that owns the tasks started in it.

    Used once, by async with; it is left when body and children have ended. on_error="cancel": the
    first failure cancels the rest; "collect": it does not; a function: it is called with each
    Exception of a child, and what it raises is the failure, if anything. deadline is a moment on the loop's
    clock at which it is cancelled, relative_deadline the same in seconds from entry, the earlier
    counts; shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks
    may go on awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is
    none). With limit, no more children run at once, and the others wait for their first step in the
    order of starting. context is what children run in that are given none of their own.

    The block raises MultiError with all that failed, BaseMultiError if something in it is no
    Exception, and KeyboardInterrupt and SystemExit bare. Entering it again raises RuntimeError, or
    NurseryClosed once it has ended. Raises ValueError for an unknown on_error, a limit below 1, a NaN
    and for a negative cleanup or relative_deadline.
    """

    def __new__(
        cls,
        *,
        on_error: Literal["cancel", "collect"] | Callable[[Exception], object] = "cancel",
        deadline: float = ...,
        shield: bool = False,
        cleanup: float | None = ...,
        relative_deadline: float | None = None,
        limit: int | None = None,
        context: Context | None = None,
    ) -> Self: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None: ...
    @overload
    def start_soon(
        self,
        target: Awaitable[_R],
        /,
        *,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]:
        """Start a child and return its task; its first step runs after this returns.

        target is a coroutine, any awaitable, or an async function that is called with args.
        With shield=True, cancellation from outside does not reach the child; the nursery still
        waits for it. Raises NurseryClosed once the block has ended.
        """
    @overload
    def start_soon(
        self,
        target: Callable[[*_Ts], Awaitable[_R]],
        /,
        *args: *_Ts,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]: ...
    @overload
    def start_now(
        self,
        target: Awaitable[_R],
        /,
        *,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]:
        """As start_soon, but the child's first step runs before this returns."""
    @overload
    def start_now(
        self,
        target: Callable[[*_Ts], Awaitable[_R]],
        /,
        *args: *_Ts,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]: ...
    @overload
    def start(
        self,
        fn_: _Starts[_V],
        /,
        *,
        name: object = None,
        shield: bool = False,
    ) -> Coroutine[Any, Any, _V]:
        """Start a child and wait until it calls task_status.started(value); return that value.

        Calls fn(*args, task_status=...). What fails before that is raised here and not by the
        nursery; RuntimeError if the child ends without having said that it is ready.
        """
    @overload
    def start(
        self,
        fn_: _Starts1[_V, _A],
        a: _A,
        /,
        *,
        name: object = None,
        shield: bool = False,
    ) -> Coroutine[Any, Any, _V]: ...
    @overload
    def start(
        self,
        fn_: _Starts2[_V, _A, _B],
        a: _A,
        b: _B,
        /,
        *,
        name: object = None,
        shield: bool = False,
    ) -> Coroutine[Any, Any, _V]: ...
    @overload
    def start(
        self,
        fn_: _Starts3[_V, _A, _B, _C],
        a: _A,
        b: _B,
        c: _C,
        /,
        *,
        name: object = None,
        shield: bool = False,
    ) -> Coroutine[Any, Any, _V]: ...
    @overload
    def start(
        self,
        fn_: Callable[..., Awaitable[object]],
        a: object,
        b: object,
        c: object,
        d: object,
        /,
        *args: object,
        name: object = None,
        shield: bool = False,
    ) -> Coroutine[Any, Any, Any]: ...
    # Put on the class by `_methods`.
    @overload
    async def start_when_free(
        self,
        target: Awaitable[_R],
        /,
        *,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]:
        """Wait until the nursery's limit leaves a place, start a child in it and return its task.

        Takes what `start_soon` takes, and is the way to feed a nursery from a long or endless source:
        nothing of a child exists before there is a place for it. A coroutine that gets none because the
        wait is cancelled is closed. Without a limit there is always a place. Raises NurseryClosed once
        the block has ended, RuntimeError before entry.
        """
    @overload
    async def start_when_free(
        self,
        target: Callable[[*_Ts], Awaitable[_R]],
        /,
        *args: *_Ts,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]: ...
    def start_thread(
        self,
        fn: Callable[[*_Ts], _R],
        /,
        *args: *_Ts,
        limiter: CapacityLimiter | None = None,
        abandon: bool = False,
        name: object = None,
        shield: bool = False,
    ) -> Task[_R]:
        """Start a plain function in a thread, as a child, and return its task.

        The nursery waits for the thread as for any child, and the thread's error is the child's.
        `to_thread` says what a cancellation does, and what ``limiter`` and ``abandon`` are. Raises
        TypeError for an async function; otherwise as `start_soon`.
        """
    def start_process(
        self,
        fn: Callable[[*_Ts], _R],
        /,
        *args: *_Ts,
        limiter: CapacityLimiter | None = None,
        grace: float = 5.0,
        name: object = None,
        shield: bool = False,
    ) -> Task[_R]:
        """Start a function in a worker process, as a child, and return its task.

        The nursery waits for the process as for any child, and its error is the child's. `to_process`
        says what a cancellation does, and what ``limiter`` and ``grace`` are. Raises TypeError for an
        async function; otherwise as `start_soon`.
        """
    @overload
    def start_service(
        self,
        target: Awaitable[_R],
        /,
        *,
        name: object = None,
        context: Context | None = None,
    ) -> Task[_R]:
        """Start a child that lives as long as the block, and return its task.

        Takes what `start_soon` takes. What body and children use, such as a log, a pool or a heartbeat,
        is still there while they end, even if they are cancelled: nothing outside cancels a service.
        Once they have ended, the services are cancelled one by one, the last started first, and each
        has the nursery's budget for cleaning up. One that returns earlier just ends; one that fails is
        a failure like any other child's. Services are not counted by the nursery's limit. Raises what
        `start_soon` raises.
        """
    @overload
    def start_service(
        self,
        target: Callable[[*_Ts], Awaitable[_R]],
        /,
        *args: *_Ts,
        name: object = None,
        context: Context | None = None,
    ) -> Task[_R]: ...
    def cancel(self, reason: object = None) -> None:
        """Cancel the nursery: children, body and all below, up to shields.

        reason is shown by the Cancelled that they get. Raises RuntimeError from another thread.
        """
    def shutdown(self, grace: float = 5.0) -> None:
        """Ask the body and the children to end, and cancel those that have not after ``grace`` seconds.

        Sets `stopping` and returns at once: the block waits, as it always does. What then is cancelled
        has the nursery's budget, and the block is left quietly. Children can still be started
        meanwhile. A further call can make the time shorter and never longer; ``math.inf`` only asks.
        Before entry, the seconds count from entry. Raises ValueError if ``grace`` is negative or a NaN,
        RuntimeError in a thread that is not the loop's.
        """
    def cancel_remaining(self) -> None:
        """Cancel the children that have not ended; neither the body nor the caller.

        Raises RuntimeError before entry and from another thread.
        """
    @property
    def stopping(self) -> Event:
        """An `Event` that `shutdown` sets: children await it, or look at it, and come to an end."""
    @property
    def closed(self) -> bool:
        """Whether body and children have ended."""
    @property
    def children(self) -> list[Task[Any]]:
        """The children that have not ended, in the order of starting."""
    @property
    def cancel_scope(self) -> CancelScope:
        """The nursery's scope: its deadline, its shield, its budget for cleaning up."""

@final
class Wait:
    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Generator[Any, Any, Any]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = ..., tb: Any = ..., /) -> Any: ...
    def close(self) -> None: ...
    def done(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def result(self) -> Any: ...
    def exception(self) -> BaseException | None: ...
    def set_result(self, result: Any, /) -> None: ...
    def cancel(self, msg: object = ...) -> bool: ...
    def add_done_callback(
        self, fn: Callable[[Any], object], /, *, context: Context | None = ...
    ) -> None: ...
    def remove_done_callback(self, fn: Callable[[Any], object], /) -> int: ...
    def get_loop(self) -> asyncio.AbstractEventLoop: ...

@final
class LoopState:
    """One event loop's part of the library.

    Every method runs with the GIL held (the module declares that it needs it), which is what makes
    the cells inside safe to share; no borrow is held while Python code can run.
    """

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
    def size(self) -> tuple[int, int, int]:
        """How many scopes, tasks and nurseries the loop has: for tests of what is left behind."""
    def create_future(self) -> asyncio.Future[Any]:
        """Make a waiter that is set from outside: what a lock or a queue asks its loop for."""

def warn_stuck_after(seconds: float) -> None:
    """Set after how many seconds a cancelled task that has not ended is named in a warning.

    For the running loop, and for cancellations from now on. 10 unless set; math.inf for never.
    Raises RuntimeError if no loop runs, ValueError if seconds is negative.
    """

def loop_state(loop: asyncio.AbstractEventLoop) -> LoopState:
    """Return the state of an event loop."""

def task_factory(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
    /,
    *,
    name: object = ...,
    context: Context | None = ...,
    eager_start: bool | None = None,
) -> Task[_T]:
    """Make a task of ours: give this to loop.set_task_factory()."""

def eager_task_factory(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
    /,
    *,
    name: object = ...,
    context: Context | None = ...,
    eager_start: bool | None = None,
) -> Task[_T]:
    """Make a task of ours and take its first step at once: give this to loop.set_task_factory()."""

def fail_after(
    delay: float | None, *, shield: bool = False, cleanup: float | None = ...
) -> _Unswallowing:
    """A scope that raises TimeoutError if it is not left within `delay` seconds; None for never.

    shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go
    on awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is none).
    Raises ValueError if delay is negative or NaN.
    """

def fail_at(
    deadline: float | None, *, shield: bool = False, cleanup: float | None = ...
) -> _Unswallowing:
    """A scope that raises TimeoutError if it is not left by `deadline`, on the loop's clock.

    shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go
    on awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is none).
    Raises ValueError if deadline is NaN.
    """

def move_on_after(
    delay: float | None, *, shield: bool = False, cleanup: float | None = ...
) -> CancelScope:
    """A scope that is left quietly after `delay` seconds; None for never.

    shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go
    on awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is none).
    cancelled_caught tells whether it was. Raises ValueError if delay is negative or NaN.
    """

def move_on_at(
    deadline: float | None, *, shield: bool = False, cleanup: float | None = ...
) -> CancelScope:
    """A scope that is left quietly at `deadline`, on the loop's clock.

    shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go
    on awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is none).
    cancelled_caught tells whether it was. Raises ValueError if deadline is NaN.
    """

@overload
def shield(*, cleanup: float | None = ...) -> _Unswallowing:
    """A scope that keeps out cancellation from outside.

    deadline and cleanup are its own, as CancelScope's (not given, cleanup is inherited). Against a
    bare Task.cancel() it holds where the task is one of ours.
    """

@overload
def shield(*, deadline: float, cleanup: float | None = ...) -> CancelScope: ...
def current_time() -> float:
    """The time on the running loop's clock: seconds from an unknown moment on.

    What deadlines are counted on. Raises RuntimeError if no loop runs.
    """

def current_effective_deadline() -> float:
    """The earliest deadline that can reach the caller; minus infinity if it is already cancelled.

    Seconds on the loop's clock, infinity for none. Raises RuntimeError outside of a task.
    """

@final
class SendChannel(Generic[_T]):
    """The end of a channel that items are put into. `open_channel` makes it.

    ``with`` and ``async with`` close it after the block.
    """

    def send(self, item: _T) -> Coroutine[Any, Any, None]:
        """Put an item into the channel, and wait until there is a place for it.

        Items arrive in the order of sending. If a scope cancels the wait, the item was not sent;
        a bare ``Task.cancel()`` can come in the moment after it was. Goes on at once where no wait
        is needed. Raises BrokenResourceError if every receive end is closed, ClosedResourceError
        if this end is.
        """
    def send_nowait(self, item: _T) -> None:
        """Put an item into the channel, or raise WouldBlock if there is no place for it."""
    def clone(self) -> SendChannel[_T]:
        """Return another send end of the same channel. Raises ClosedResourceError."""
    def close(self) -> None:
        """Close this end; what waits at it gets ClosedResourceError. It may be closed already."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """Close this end, for what expects a coroutine; it does not wait."""
    def statistics(self) -> ChannelStatistics:
        """Return how full the channel is and what waits at it."""
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class ReceiveChannel(Generic[_T]):
    """The end of a channel that items come out of. `open_channel` makes it.

    ``async for`` gives items until every send end is closed. ``with`` and ``async with`` close it
    after the block.
    """

    def receive(self) -> Coroutine[Any, Any, _T]:
        """Wait for the next item and return it.

        Each item goes to one receiver, the first that has asked. If the wait is cancelled, no item
        is lost: one that was handed over in the same moment goes to the next receiver. Goes on at
        once where an item is there. Raises EndOfChannel if every send end is closed and no item is
        left, ClosedResourceError if this end is closed.
        """
    def receive_nowait(self) -> _T:
        """Return the next item, or raise WouldBlock if none is there; otherwise as `receive`."""
    def clone(self) -> ReceiveChannel[_T]:
        """Return another receive end of the same channel. Raises ClosedResourceError."""
    def close(self) -> None:
        """Close this end; what waits at it gets ClosedResourceError. It may be closed already."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """Close this end, for what expects a coroutine; it does not wait."""
    def statistics(self) -> ChannelStatistics:
        """Return how full the channel is and what waits at it."""
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, _T]: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class Transfer(Generic[_T_co]):
    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    @property
    def cr_running(self) -> bool: ...
    def __await__(self) -> Generator[Any, Any, _T_co]: ...
    def __iter__(self) -> Generator[Any, Any, _T_co]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = ..., tb: Any = ..., /) -> Any: ...
    def close(self) -> None: ...

def make_channel(
    capacity: float, places: int, strict: bool = False
) -> tuple[SendChannel[Any], ReceiveChannel[Any]]:
    """Make a channel with this many places, which its statistics show as `capacity`; return its two ends.
    A `strict` one is anyio's: what a sender offers that was cancelled is taken until its task goes on.
    """

def demand(send: SendChannel[Any]) -> Coroutine[Any, Any, None]:
    """Wait until something waits for an item at the channel of a send end, or nothing receives there.

    For one producer: another one's wait is over then.
    """

@overload
def sleep(delay: float) -> Coroutine[Any, Any, None]:
    """Wait for `delay` seconds, then return `result`.

    At least one turn of the loop. Raises ValueError if delay is NaN.
    """

@overload
def sleep(delay: float, result: _T) -> Coroutine[Any, Any, _T]: ...
def sleep_until(deadline: float) -> Coroutine[Any, Any, None]:
    """Wait until the loop's clock shows `deadline`, in seconds.

    Raises ValueError if deadline is NaN.
    """

def sleep_forever() -> Coroutine[Any, Any, None]:
    """Wait until cancelled."""

def checkpoint() -> Coroutine[Any, Any, None]:
    """Let others run, and be cancelled if the scope is."""

def checkpoint_if_cancelled() -> Coroutine[Any, Any, None]:
    """Be cancelled if the scope is; go on at once if not.

    Raises RuntimeError outside of a task.
    """

def watch(scope: CancelScope, call: Callable[[], object]) -> None:
    """Have `call` called, without arguments, when a cancellation reaches a scope; at once if one does.

    Raises RuntimeError before entry, after the block and from another thread.
    """

def unwatch(scope: CancelScope, call: Callable[[], object]) -> bool:
    """Have `call` not called any more; return whether it still would have been.

    Raises RuntimeError from another thread.
    """

class StrictScope(CancelScope):  # type: ignore[misc]
    """A scope in which each await of a cancelled task is cancelled, as anyio promises it."""

    def __new__(
        cls,
        *,
        deadline: float = ...,
        shield: bool = False,
        delay: float = ...,
        fails: bool = False,
    ) -> Self: ...

class StrictNursery(Nursery):
    """A nursery in which each await of a cancelled task is cancelled, and which a child that is
    cancelled by hand cancels.
    """

    def __new__(cls) -> Self: ...
    @property
    def entered(self) -> bool:
        """Whether it was entered."""
    @property
    def empty(self) -> bool:
        """Whether no child is left that has not ended."""
    @property
    def event_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that it was entered in; None before entry and after its block."""
    @property
    def elsewhere(self) -> bool:
        """Whether it is open, and the caller runs in another loop than it."""
    @property
    def programs_factory(self) -> Any:
        """The task factory that the program has given the loop; None for none, for one of ours, and where the
        nursery is not open.
        """
    def show_scope(self, scope: CancelScope) -> None:
        """Have this new scope stand for the nursery's, unless one does already."""
    def start_soon(  # type: ignore[override]
        self, func: Callable[..., object], /, *args: object, name: object = None
    ) -> Any:
        """Start a child of a function, named after it if name is None, and return its handle."""

def make_anyio_functions(
    own: tuple[Callable[..., Any], Callable[..., Any]],
    ours: type,
    backends: dict[str, Any],
    asyncio: str,
    *sniffed: Any,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Make what takes the place of anyio's `get_async_backend` and `checkpoint`, which are `own`.

    ours is our backend, backends and asyncio are anyio's table and the name of asyncio's in it; sniffed
    is empty, or sniffio's `thread_local` and its context variable.
    """

def make_handles_of(class_: type, /) -> None:
    """Have the children of these nurseries get handles of this class: plain objects, in which nothing is
    set but `_task`. For good: a second class is refused with a RuntimeError.
    """

def shields(block: object, task: object, /) -> bool:
    """Whether a task has entered this scope or nursery, and that holds a bare cancellation back (R20)."""

def cancel_child(child: object, reason: object) -> None:
    """Cancel one child, as a scope around all of it: each of its awaits from now on, up to shields.

    Does nothing once it has ended. Raises RuntimeError from another thread.
    """

@final
class Reservation:
    """What keeps a nursery from closing while a child is to come: until it is released, left as a block,
    or gone.
    """

    def release(self, *_of: object) -> None:
        """Let the nursery close again; a second call changes nothing."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exc: object) -> None: ...

def reserve(nursery: Nursery) -> Reservation:
    """Keep a nursery from closing while the block runs that this is used for: a child is to come.

    Raises RuntimeError before entry and from another thread or loop, NurseryClosed once the block has ended.
    """

def move_child(child: object, from_: Nursery, to: Nursery) -> bool:
    """Make a child of one nursery another's in the same loop, unless the first is cancelled, the child has ended
    or waits for the other one.
    """

def start_child(
    nursery: Nursery,
    target: object,
    args: tuple[Any, ...],
    name: object,
    context: Context | None,
    shield: bool,
    at_once: bool,
    service: bool = False,
) -> Task[Any]:
    """Start a child without asking for a place: for the part that has just given it one."""

def gate_of(nursery: Nursery) -> Any:
    """What counts a nursery's places; None where it has no limit."""

def stopping_of(nursery: Nursery, make: Callable[[], _T]) -> _T:
    """The event that says that a nursery is to come to an end; `make` makes it where there is none yet."""

def context_of(nursery: Nursery) -> Context | None:
    """What a nursery's children run in; None where it was given nothing."""

def refuse_child(target: object) -> None:
    """Close what a refused child would have run, so that Python does not warn of it (R2)."""

def act_as_task_group(nursery: Nursery) -> None:
    """Have a nursery's own cancellation act as asyncio's groups do it: as `Task.cancel()`, once."""

def is_to_hear() -> bool:
    """Whether the task that runs goes on with what it has got, to be cancelled at its next await (R12a)."""

def create_task(
    self: Nursery,
    /,
    coro: Coroutine[Any, Any, _T],
    *,
    name: str | None = None,
    context: Context | None = None,
    eager_start: bool | None = None,
    **_: Any,
) -> Task[_T]:
    """Start a child and return its task.

    Raises RuntimeError before the group is entered, once it has finished and while it shuts down.
    """

def is_cancelled(what: asyncio.Task[Any] | Nursery) -> bool:
    """Return whether a scope's cancellation reaches a task or a nursery.

    May be asked from any thread.
    """

def parent_of(task: asyncio.Task[Any]) -> tuple[asyncio.Task[Any], int] | None:
    """Return the host of the nursery that a task is a child of, and when that nursery was entered, as a
    count of the loop's scopes; None if the task is no child.
    """

def entered_by(task: asyncio.Task[Any]) -> tuple[int, list[int]]:
    """Return the count of the loop's scopes now, and what it was when each of the nurseries was entered
    that a task has entered and not left.
    """

def parent_task(task: asyncio.Task[Any]) -> asyncio.Task[Any] | None:
    """Return the host of the nursery that a task is a child of; None if there is none."""
