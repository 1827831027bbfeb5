"""R6 to R10: what is cancelled when something fails, what is raised, and what dies with it."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import sys
import traceback
import weakref

import pytest

from aionursery import BaseMultiError, CancelScope, MultiError, Nursery, Task

from .helpers import fail, forever, note_cancellation, turns


def messages(group: BaseException) -> list[str]:
    assert isinstance(group, BaseExceptionGroup)
    return [str(error) for error in group.exceptions]


class CannotBeCompared(Exception):
    __hash__ = None

    def __eq__(self, other):
        raise RuntimeError("__eq__ was called")


class HashFails(Exception):
    def __hash__(self):
        raise RuntimeError("__hash__ was called")


class EqualsAll(Exception):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


class StrFails(Exception):
    def __str__(self):
        raise RuntimeError("__str__ was called")

    __repr__ = __str__


class BoolFails(Exception):
    def __bool__(self):
        raise RuntimeError("__bool__ was called")

    def __len__(self):
        raise RuntimeError("__len__ was called")


class FalseyError(Exception):
    def __bool__(self):
        return False


AWKWARD = [CannotBeCompared, HashFails, EqualsAll, StrFails, BoolFails, FalseyError]


async def test_r6_the_first_child_to_fail_cancels_siblings_and_body(world):
    trace = []
    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_soon(note_cancellation(trace, "sibling"))
            nursery.start_soon(fail(ValueError("first"), after=1))
            await note_cancellation(trace, "body")
    assert sorted(trace) == ["body", "sibling"]
    assert messages(info.value) == ["first"]


async def test_r6_a_failing_body_cancels_every_child(world):
    trace = []
    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            for number in range(3):
                nursery.start_soon(note_cancellation(trace, number))
            await turns(1)
            raise ValueError("body")
    assert sorted(trace) == [0, 1, 2]
    assert messages(info.value) == ["body"]


async def test_r6_a_child_that_fails_while_the_block_joins_cancels_the_rest(world):
    trace = []
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(note_cancellation(trace, "sibling"))
            nursery.start_soon(fail(ValueError(), after=4))
    assert trace == ["sibling"]


async def test_r6_a_child_that_fails_in_its_eager_first_step_cancels_the_body(world):
    trace = []
    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            task = nursery.start_now(fail(ValueError("eager")))
            assert task.done()
            await note_cancellation(trace, "body")
    assert trace == ["body"]
    assert messages(info.value) == ["eager"]


async def test_r6_on_error_collect_leaves_siblings_and_body_alone(world):
    trace = []

    async def goes_on(name):
        await turns(6)
        trace.append(name)

    with pytest.raises(MultiError) as info:
        async with Nursery(on_error="collect") as nursery:
            nursery.start_soon(fail(ValueError("one"), after=1))
            nursery.start_soon(fail(KeyError("two"), after=2))
            nursery.start_soon(goes_on("sibling"))
            await goes_on("body")
    assert sorted(trace) == ["body", "sibling"]
    assert [type(error) for error in info.value] == [ValueError, KeyError]


async def test_r6_on_error_collect_keeps_children_running_when_the_body_fails(world):
    trace = []

    async def goes_on():
        await turns(6)
        trace.append("sibling")

    with pytest.raises(MultiError) as info:
        async with Nursery(on_error="collect") as nursery:
            nursery.start_soon(goes_on())
            await turns(1)
            raise ValueError("body")
    assert trace == ["sibling"]
    assert messages(info.value) == ["body"]


async def test_r6_the_nursery_around_is_left_alone_until_the_inner_one_has_raised(world):
    trace = []
    async with Nursery() as outer:
        sibling = outer.start_soon(turns(8))
        with pytest.raises(MultiError):
            async with Nursery() as inner:
                inner.start_soon(fail(ValueError()))
                await forever()
        trace.append("handled")
    assert trace == ["handled"]
    assert not sibling.cancelled()


async def test_r7_errors_come_in_the_order_in_which_they_happened(world):
    with pytest.raises(MultiError) as info:
        async with Nursery(on_error="collect") as nursery:
            for delay in (5, 1, 3, 2, 4):
                nursery.start_soon(fail(ValueError(delay), after=delay))
    assert messages(info.value) == ["1", "2", "3", "4", "5"]


async def test_r7_errors_raised_while_being_cancelled_are_reported_too(world):
    async def fails_to_clean_up(name):
        try:
            await forever()
        finally:
            raise KeyError(name)

    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_soon(fails_to_clean_up("a"))
            nursery.start_soon(fails_to_clean_up("b"))
            nursery.start_soon(fail(ValueError("first"), after=1))
    assert messages(info.value) == ["first", "'a'", "'b'"]


async def test_r7_one_object_reached_on_two_ways_is_one_error(world):
    error = ValueError("once")
    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            task = nursery.start_soon(fail(error))
            try:
                await task
            except asyncio.CancelledError:
                raise error from None
    assert info.value.exceptions == (error,)


async def test_r7_two_children_that_raise_the_same_object_report_it_once(world):
    error = ValueError("shared")
    with pytest.raises(MultiError) as info:
        async with Nursery(on_error="collect") as nursery:
            nursery.start_soon(fail(error))
            nursery.start_soon(fail(error, after=2))
    assert info.value.exceptions == (error,)


async def test_r7_errors_that_are_equal_but_not_the_same_are_two(world):
    with pytest.raises(MultiError) as info:
        async with Nursery(on_error="collect") as nursery:
            nursery.start_soon(fail(EqualsAll()))
            nursery.start_soon(fail(EqualsAll()))
    assert len(info.value) == 2


async def test_r7_a_child_that_is_not_awaited_is_not_called_never_retrieved(world):
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(fail(ValueError()))
    gc.collect()
    assert world.reports == []


async def test_r7_a_child_cancelled_with_its_nursery_is_no_error(world):
    async with Nursery() as nursery:
        task = nursery.start_soon(forever())
        await turns(1)
        nursery.cancel()
    assert task.cancelled()


async def test_r7_a_child_that_raises_cancelled_error_by_itself_is_no_error(world):
    async def leaves():
        raise asyncio.CancelledError("by itself")

    async with Nursery() as nursery:
        task = nursery.start_soon(leaves())
        sibling = nursery.start_soon(turns(3))
    assert task.cancelled()
    assert not sibling.cancelled()


@pytest.mark.parametrize("kind", AWKWARD)
async def test_r7_an_exception_that_misbehaves_is_reported_like_any_other(world, kind):
    errors = [kind(), kind(), kind()]
    with pytest.raises(MultiError) as info:
        async with Nursery(on_error="collect") as nursery:
            for error in errors[:2]:
                nursery.start_soon(fail(error))
            await turns(2)
            raise errors[2]
    assert [id(error) for error in info.value] == [id(error) for error in errors]


@pytest.mark.parametrize("kind", AWKWARD)
async def test_r7_an_exception_that_misbehaves_cancels_the_siblings(world, kind):
    trace = []
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(note_cancellation(trace, "sibling"))
            nursery.start_soon(fail(kind(), after=1))
            await note_cancellation(trace, "body")
    assert sorted(trace) == ["body", "sibling"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_r7_an_exception_whose_del_fails_breaks_nothing(world):
    deleted = []

    class DelFails(Exception):
        def __del__(self):
            deleted.append(1)
            raise RuntimeError("__del__ was called")

    seen = 0
    for _ in range(3):
        try:
            async with Nursery() as nursery:
                nursery.start_soon(fail(DelFails()))
                await forever()
        except MultiError as group:
            seen += len(group)
    gc.collect()
    assert seen == 3
    assert deleted == [1, 1, 1]
    async with Nursery() as nursery:
        assert await nursery.start_soon(asyncio.sleep(0, "still works")) == "still works"


async def test_r7_an_exception_whose_del_starts_a_child_breaks_nothing(world):
    refused = []

    class Starts(Exception):
        def __del__(self):
            try:
                self.nursery.start_soon(turns(1))
            except RuntimeError as error:
                refused.append(str(error))

    async def run():
        async with Nursery() as nursery:
            error = Starts()
            error.nursery = nursery
            nursery.start_soon(fail(error))
            del error
            await forever()

    with pytest.raises(MultiError):
        await run()
    gc.collect()
    assert len(refused) == 1 and "closed" in refused[0]


async def test_r8_one_error_too_comes_as_a_multi_error(world):
    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_soon(fail(ValueError("alone")))
    assert type(info.value) is MultiError
    assert isinstance(info.value, ExceptionGroup)
    assert len(info.value) == 1
    assert info.value[0] is info.value.exceptions[0]


async def test_r8_except_star_takes_it_apart(world):
    taken = []
    try:
        async with Nursery(on_error="collect") as nursery:
            nursery.start_soon(fail(ValueError("v")))
            nursery.start_soon(fail(KeyError("k")))
            nursery.start_soon(fail(OSError("o")))
    except* ValueError as group:
        taken.append((type(group), messages(group)))
    except* (KeyError, OSError) as group:
        taken.append((type(group), messages(group)))
    assert taken == [(MultiError, ["v"]), (MultiError, ["'k'", "o"])]


def test_r8_split_subgroup_and_derive_give_multi_error_again():
    group = MultiError([ValueError(1), KeyError(2)])
    match, rest = group.split(ValueError)
    assert type(match) is MultiError and type(rest) is MultiError
    assert type(group.subgroup(KeyError)) is MultiError
    assert type(group.derive([OSError()])) is MultiError
    assert type(group.derive([KeyboardInterrupt()])) is BaseMultiError


def test_r8_it_is_a_container():
    errors = [ValueError(1), KeyError(2), OSError(3)]
    group = MultiError(errors)
    assert list(group) == errors
    assert len(group) == 3
    assert group[0] is errors[0] and group[-1] is errors[2]
    assert group[1:] == tuple(errors[1:])
    assert group.exceptions == tuple(errors)
    assert group
    with pytest.raises(IndexError):
        group[3]


def test_r8_its_str_shows_every_traceback():
    errors = []
    for kind in (ValueError, KeyError):
        try:
            raise kind("shown")
        except kind as error:
            errors.append(error)
    text = str(MultiError(errors))
    assert "Details of embedded exception 0:" in text
    assert "Details of embedded exception 1:" in text
    assert "Details of embedded exception 2:" not in text
    assert "ValueError: shown" in text and "KeyError: 'shown'" in text
    assert text.count("raise kind") == 2


def named(*errors: tuple[str | None, BaseException]) -> BaseMultiError[BaseException]:
    return BaseMultiError._of([error for _, error in errors], [name for name, _ in errors])


def test_r8_names_stand_beside_the_errors_and_in_its_str():
    group = named(("fetch", ValueError("shown")), (None, KeyError("body")))
    assert type(group) is MultiError
    assert group.names == ("fetch", None)
    text = str(group)
    assert text.count("Raised by") == 1
    assert text.index("exception 0:") < text.index("Raised by 'fetch':") < text.index("shown")
    assert type(named(("a", ValueError()), ("b", GeneratorExit()))) is BaseMultiError
    assert MultiError([ValueError(), KeyError()]).names == (None, None)
    assert MultiError("message", [ValueError()]).names == (None,)
    with pytest.raises(ValueError, match="1 names for 2 errors"):
        MultiError._of([ValueError(), KeyError()], ["one"])
    with pytest.raises(AttributeError):
        group.names = ("other", None)


def test_r8_nothing_is_written_on_an_error_that_is_named():
    class Frozen(Exception):
        def __setattr__(self, name, value):
            raise AssertionError(name)

    error = Frozen()
    assert named(("child", error)).names == ("child",)
    assert error.__dict__ == {} and not hasattr(error, "__notes__")


def test_r8_split_subgroup_and_derive_carry_the_names():
    inner = named(("deep", ValueError(1)), ("other", KeyError(2)))
    same = ValueError(3)
    group = named(("a", same), ("nested", inner), (None, KeyError(4)), ("again", same))
    match, rest = group.split(ValueError)
    assert match is not None and rest is not None
    assert match.names == ("a", "nested", "again")
    assert match[1].names == ("deep",)
    assert rest.names == ("nested", None)
    assert rest[0].names == ("other",)
    assert group.subgroup(KeyError).names == ("nested", None)
    assert group.subgroup(lambda exc: exc is inner).names == ("nested",)
    assert group.derive([group[3], KeyError("new"), inner]).names == ("a", None, "nested")
    assert group.derive([group[2]]).names == (None,)
    caught = []
    try:
        raise group
    except* KeyError as part:
        caught.append(part.names)
    except* ValueError as part:
        caught.append(part.names)
    assert caught == [("nested", None), ("a", "nested", "again")]


def test_r8_copies_and_pickles_keep_the_names():
    group = named(("a", ValueError(1)), (None, KeyError(2)))
    group.add_note("note")
    for other in (copy.copy(group), pickle.loads(pickle.dumps(group))):
        assert type(other) is MultiError and other.names == ("a", None)
        assert [repr(error) for error in other] == ["ValueError(1)", "KeyError(2)"]
        assert other.message == group.message and other.__notes__ == ["note"]
    base = pickle.loads(pickle.dumps(named(("a", GeneratorExit()))))
    assert type(base) is BaseMultiError and base.names == ("a",)
    assert pickle.loads(pickle.dumps(MultiError([ValueError()]))).names == (None,)


def test_r8_printed_by_python_it_shows_each_error_once():
    group = MultiError([ValueError("shown")])
    assert "".join(traceback.format_exception(group)).count("ValueError: shown") == 1


def test_r8_base_multi_error_of_plain_exceptions_is_a_multi_error():
    assert type(BaseMultiError([ValueError()])) is MultiError
    assert type(BaseMultiError([ValueError(), GeneratorExit()])) is BaseMultiError
    with pytest.raises(TypeError):
        MultiError([KeyboardInterrupt()])


async def test_r8_what_is_no_exception_makes_a_base_multi_error(world):
    class Strange(BaseException):
        pass

    with pytest.raises(BaseMultiError) as info:
        async with Nursery(on_error="collect") as nursery:
            nursery.start_soon(fail(Strange("strange")))
            nursery.start_soon(fail(ValueError("plain"), after=1))
    assert type(info.value) is BaseMultiError
    assert not isinstance(info.value, Exception)
    assert messages(info.value) == ["strange", "plain"]


async def test_r8_nested_nurseries_raise_nested_groups(world):
    async def inner():
        async with Nursery() as nursery:
            nursery.start_soon(fail(ValueError("deep")))

    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_soon(inner())
    assert type(info.value[0]) is MultiError
    assert messages(info.value[0]) == ["deep"]


async def test_r8_it_is_raised_from_nothing(world):
    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_soon(fail(ValueError()))
            await forever()
    assert info.value.__cause__ is None
    text = "".join(traceback.format_exception(info.value))
    assert "CancelledError" not in text


def leave_by(world, kind, beside=None):
    """Run a nursery whose child raises `kind`; say what was still running when it got out."""
    trace = []

    async def main():
        try:
            async with Nursery() as nursery:
                nursery.start_soon(note_cancellation(trace, "sibling"))
                if beside is not None:
                    nursery.start_soon(fails_later(beside))
                nursery.start_soon(fail(kind("bare"), after=1))
                await note_cancellation(trace, "body")
        except kind as error:
            trace.append(type(error))

    async def fails_later(error):
        try:
            await forever()
        finally:
            raise error

    try:
        world.run(main())
    except kind:
        trace.append("out of the loop")
    return trace


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_r9_a_child_that_exits_leaves_the_block_bare_after_the_join(world, kind):
    trace = leave_by(world, kind)
    assert trace[-1] in ("out of the loop", kind)
    assert sorted(name for name in trace if name in ("body", "sibling")) == ["body", "sibling"]
    assert kind in trace


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.reports
def test_r9_an_error_beside_it_is_reported(world, kind):
    beside = ValueError("beside")
    leave_by(world, kind, beside)
    reported = [report.get("exception") for report in world.reports]
    assert reported.count(beside) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_r9_a_body_that_exits_leaves_bare_after_the_join(world, kind):
    trace = []
    error = kind("bare")
    with pytest.raises(kind) as info:
        async with Nursery() as nursery:
            nursery.start_soon(note_cancellation(trace, "child"))
            await turns(1)
            raise error
    assert info.value is error
    assert trace == ["child"]


async def test_r9_generator_exit_in_the_body_leaves_bare(world):
    with pytest.raises(GeneratorExit):
        async with Nursery() as nursery:
            nursery.start_soon(turns(1))
            raise GeneratorExit


@pytest.mark.parametrize("first", ["child", "body"])
async def test_r7_generator_exit_in_the_body_takes_no_error_of_a_child_away(world, first):
    async def child():
        try:
            await turns(1 if first == "child" else 5)
        finally:
            raise ValueError("a child's")

    with pytest.raises(BaseMultiError) as info:
        async with Nursery() as nursery:
            nursery.start_soon(child)
            await turns(3 if first == "body" else 1)
            try:
                if first == "child":
                    await forever()
            finally:
                raise GeneratorExit
    kinds = [ValueError, GeneratorExit]
    assert [type(error) for error in info.value] == kinds[:: 1 if first == "child" else -1]


class Plain:
    """What can be weakly referenced, to see when it dies."""


async def fails_with(marker):
    """Fail in a frame that holds the marker; a frame that held its own error would be a cycle."""
    local = marker
    await turns(1)
    assert local is marker
    raise ValueError


@pytest.mark.parametrize("place", ["child", "body", "eager", "nested"])
async def test_r10_an_error_and_what_hangs_on_it_die_by_reference_count(world, place):
    dead = []

    async def block(marker):
        async with Nursery() as nursery:
            if place == "child":
                nursery.start_soon(fails_with(marker))
                await forever()
            elif place == "eager":
                nursery.start_now(fails_with(marker))
                await forever()
            elif place == "nested":
                async with Nursery() as inner:
                    inner.start_soon(fails_with(marker))
            else:
                nursery.start_soon(forever())
                await fails_with(marker)

    gc.collect()
    gc.disable()
    try:
        marker = Plain()
        weakref.finalize(marker, dead.append, "marker")
        try:
            await block(marker)
        except MultiError as group:
            weakref.finalize(group, dead.append, "group")
        del marker
        # The loop drops the last step's handle in its next turns.
        await turns(2)
        assert sorted(dead) == ["group", "marker"]
    finally:
        gc.enable()


async def test_r10_no_cycle_is_left_for_the_collector(world):
    async def block(how):
        async with Nursery() as nursery:
            nursery.start_soon(turns(1))
            nursery.start_soon(forever())
            await turns(1)
            if how == "cancel":
                nursery.cancel("enough")
            elif how == "fail":
                nursery.start_soon(fails_with(how))
            else:
                raise KeyError(how)
            with CancelScope():
                await forever()

    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for how in ("cancel", "fail", "body") * 3:
            try:
                await block(how)
            except MultiError:
                pass
        await turns(2)
        gc.collect()
        kinds = (BaseException, Nursery, CancelScope, Task)
        left = [thing for thing in gc.garbage if isinstance(thing, kinds)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert left == []


async def test_r10_a_task_and_its_result_die_with_the_last_reference(world):
    gc.collect()
    gc.disable()
    try:
        async with Nursery() as nursery:
            task = nursery.start_soon(turns(1))
            await task
            reference = weakref.ref(task)
            await turns(1)
            alone = object()
            assert sys.getrefcount(task) == sys.getrefcount(alone)
            del task
            assert reference() is None
    finally:
        gc.enable()
