"""`open_channel`: items go from many to many, and none is lost."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import random
import weakref

import pytest

import aionursery
from aionursery import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfChannel,
    Nursery,
    WouldBlock,
    open_channel,
)

from .helpers import Noted, fail, turns

#: Items that pass under random cancellation, in all runs of the test together: a million if so
#: asked.
ITEMS = int(os.environ.get("AIONURSERY_CHANNEL_ITEMS", "20000"))

CAPACITIES = [0, 1, 3, math.inf]


@pytest.mark.parametrize("capacity", CAPACITIES)
async def test_items_arrive_in_the_order_of_sending_and_the_last_close_ends_them(world, capacity):
    send, receive = open_channel(capacity)

    async def produce():
        with send:
            for number in range(10):
                await send.send(number)

    async with Nursery() as nursery:
        nursery.start_soon(produce)
        found = [item async for item in receive]
    assert found == list(range(10))
    with pytest.raises(EndOfChannel):
        await receive.receive()
    with pytest.raises(EndOfChannel):
        receive.receive_nowait()


@pytest.mark.parametrize("capacity", CAPACITIES)
async def test_many_senders_and_many_receivers_each_item_to_one(world, capacity):
    send, receive = open_channel(capacity)
    found = []

    async def produce(end, begin):
        with end:
            for number in range(begin, begin + 50):
                await end.send(number)
                if number % 7 == 0:
                    await turns(1)

    async def consume(end):
        with end:
            async for item in end:
                found.append(item)
                if item % 5 == 0:
                    await turns(1)

    async with Nursery() as nursery:
        with send, receive:
            for index in range(4):
                nursery.start_soon(produce, send.clone(), 50 * index)
                nursery.start_soon(consume, receive.clone())
    assert sorted(found) == list(range(200))
    assert receive.statistics()[:4] == (0, capacity, 0, 0)


async def test_a_capacity_bounds_what_is_kept(world):
    send, receive = open_channel(2)
    send.send_nowait("a")
    await send.send("b")
    with pytest.raises(WouldBlock):
        send.send_nowait("c")
    async with Nursery() as nursery:
        waiting = nursery.start_soon(send.send, "c")
        await turns(3)
        assert not waiting.done()
        assert send.statistics() == (2, 2, 1, 1, 1, 0)
        assert receive.receive_nowait() == "a"
        await turns(2)
        assert waiting.done()
    assert [receive.receive_nowait() for _ in range(2)] == ["b", "c"]
    with pytest.raises(WouldBlock):
        receive.receive_nowait()


async def test_without_capacity_an_item_is_sent_when_it_is_received(world):
    send, receive = open_channel(0)
    with pytest.raises(WouldBlock):
        send.send_nowait(1)
    async with Nursery() as nursery:
        sending = nursery.start_soon(send.send, 1)
        await turns(3)
        assert not sending.done()
        assert receive.receive_nowait() == 1
        receiving = nursery.start_soon(receive.receive)
        await turns(2)
        send.send_nowait(2)
        assert await receiving == 2


async def test_an_infinite_capacity_never_waits(world):
    send, receive = open_channel(math.inf)
    for number in range(1000):
        send.send_nowait(number)
    assert receive.statistics().buffered == 1000


async def test_receivers_get_items_in_the_order_of_asking(world):
    send, receive = open_channel(0)
    async with Nursery() as nursery:
        tasks = [nursery.start_soon(receive.receive) for _ in range(3)]
        await turns(1)
        for number in range(3):
            await send.send(number)
    assert [task.result() for task in tasks] == [0, 1, 2]


# Ends


async def test_only_the_last_close_of_a_send_end_ends_the_channel(world):
    send, receive = open_channel(1)
    other = send.clone()
    async with Nursery() as nursery:
        receiving = nursery.start_soon(receive.receive)
        await turns(1)
        send.close()
        send.close()
        await turns(2)
        assert not receiving.done()
        await other.send("still open")
        assert await receiving == "still open"
        await other.send("kept")
        await other.aclose()
    assert [item async for item in receive] == ["kept"]


async def test_the_last_close_of_a_receive_end_breaks_the_senders(world):
    send, receive = open_channel(1)
    other = receive.clone()
    await send.send(1)
    async with Nursery() as nursery:

        async def sending():
            with pytest.raises(BrokenResourceError):
                await send.send(2)

        nursery.start_soon(sending)
        await turns(2)
        receive.close()
        await turns(2)
        assert send.statistics().waiting_senders == 1
        other.close()
    with pytest.raises(BrokenResourceError):
        await send.send(3)
    with pytest.raises(BrokenResourceError):
        send.send_nowait(3)
    assert send.statistics().buffered == 0


async def test_a_closed_end_refuses_and_so_does_what_waits_at_it(world):
    send, receive = open_channel(0)
    kept = send.clone(), receive.clone()

    async def sending():
        with pytest.raises(ClosedResourceError):
            await send.send(1)

    async def receiving():
        with pytest.raises(ClosedResourceError):
            await receive.receive()

    for end, waits in ((send, sending), (receive, receiving)):
        async with Nursery() as nursery:
            nursery.start_soon(waits)
            await turns(2)
            end.close()
    for call in (send.send_nowait, lambda _: send.clone(), lambda _: receive.receive_nowait()):
        with pytest.raises(ClosedResourceError):
            call(1)
    with pytest.raises(ClosedResourceError):
        receive.clone()
    with pytest.raises(ClosedResourceError):
        await send.send(1)
    with pytest.raises(ClosedResourceError):
        await anext(receive)
    assert "closed" in repr(send) and "open" in repr(kept[0])


async def test_async_with_closes_an_end(world):
    send, receive = open_channel(1)
    async with send, receive:
        await send.send(1)
    assert send.statistics() == (0, 1, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("capacity", "error"), [(-1, ValueError), (1.5, TypeError), (math.nan, TypeError)]
)
def test_a_capacity_is_a_number_of_items(capacity, error):
    with pytest.raises(error, match="capacity must"):
        open_channel(capacity)


# Cancellation


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("when", range(6))
@pytest.mark.parametrize("capacity", [0, 1])
async def test_r12a_no_item_is_lost_when_a_receiver_is_cancelled(world, capacity, when, how):
    send, receive = open_channel(capacity)
    found = []
    scope = CancelScope()

    async def receiving():
        with scope:
            found.append(await receive.receive())

    async def sending():
        await turns(2)
        await send.send("item")
        send.close()

    async with Nursery() as nursery:
        task = nursery.start_soon(receiving)
        nursery.start_soon(sending)
        await turns(when)
        if how == "task":
            task.cancel()
        else:
            scope.cancel()
        await asyncio.wait([task])
        found.extend([item async for item in receive])
    assert found == ["item"]


async def test_r12a_an_item_that_was_handed_over_goes_to_the_next_receiver_even_after_the_end(
    world,
):
    send, receive = open_channel(0)
    async with Nursery() as nursery:
        first = nursery.start_soon(receive.receive)
        second = nursery.start_soon(receive.receive)
        await turns(1)
        send.send_nowait("item")
        first.cancel()
        send.close()
        with pytest.raises(WouldBlock):
            receive.receive_nowait()
        assert await second == "item"
    assert first.cancelled()
    with pytest.raises(EndOfChannel):
        await receive.receive()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_r12a_what_several_cancelled_receivers_give_back_keeps_its_order(world, order):
    send, receive = open_channel(1)
    async with Nursery() as nursery:
        children = [nursery.start_soon(receive.receive) for _ in range(3)]
        await turns(2)
        for number in range(4):
            send.send_nowait(number)
        for child in order:
            children[child].cancel()
    assert [receive.receive_nowait() for _ in range(4)] == [0, 1, 2, 3]
    # What was given back and received is forgotten.
    send.send_nowait("next")
    assert receive.receive_nowait() == "next"


async def test_a_cancelled_sender_s_item_is_not_sent(world):
    send, receive = open_channel(0)
    with CancelScope() as scope:
        scope.cancel()
        await send.send("never")
    assert scope.cancelled_caught
    assert send.statistics().waiting_senders == 0
    with pytest.raises(WouldBlock):
        receive.receive_nowait()


@pytest.mark.parametrize("capacity", [0, 5])
async def test_r12a_nothing_is_lost_among_many_items_under_random_cancellation(world, capacity):
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    send, receive = open_channel(capacity)
    found = []
    count = ITEMS // 8

    async def produce(end, begin):
        with end:
            for number in range(begin, begin + count // 4):
                while True:
                    with CancelScope() as scope:
                        if draw.random() < 0.1:
                            asyncio.get_running_loop().call_soon(scope.cancel)
                        await end.send(number)
                        break
                if draw.random() < 0.1:
                    await aionursery.sleep(0)

    async def consume(end):
        with end:
            async for item in end:
                found.append(item)
                if draw.random() < 0.2:
                    await aionursery.sleep(0)

    async def take_one_after_another(end):
        with end:
            while True:
                with CancelScope() as scope:
                    if draw.random() < 0.3:
                        asyncio.get_running_loop().call_soon(scope.cancel)
                    try:
                        found.append(await end.receive())
                    except EndOfChannel:
                        return

    async def strike(nursery):
        """Cancel receivers by hand, and start others."""
        tasks = [nursery.start_soon(consume, receive.clone()) for _ in range(3)]
        while send.statistics().senders:
            await turns(draw.randrange(1, 4))
            index = draw.randrange(3)
            tasks[index].cancel()
            tasks[index] = nursery.start_soon(consume, receive.clone())

    async with Nursery() as nursery:
        for index in range(4):
            nursery.start_soon(produce, send.clone(), count // 4 * index)
        send.close()
        nursery.start_soon(take_one_after_another, receive.clone())
        await strike(nursery)
    with receive:
        found.extend([item async for item in receive])
    assert sorted(found) == list(range(count // 4 * 4)), f"seed {seed}"


async def test_r10_a_channel_that_was_used_is_in_no_reference_cycle(world):
    class Item:
        pass

    async def ended(receive, references):
        try:
            await receive.receive()
        except EndOfChannel as error:
            references.append(weakref.ref(error))

    gc.disable()
    try:
        send, receive = open_channel(0)
        item = Item()
        references = [weakref.ref(item), weakref.ref(send), weakref.ref(receive)]
        async with Nursery() as nursery:
            nursery.start_soon(send.send, item)
            await receive.receive()
            waiting = nursery.start_soon(receive.receive)
            await turns(1)
            waiting.cancel()
            ending = nursery.start_soon(ended, receive, references)
            await turns(1)
            send.close()
        del item, send, receive, waiting, nursery, ending
        await turns(1)
        assert [reference() for reference in references] == [None] * 4
    finally:
        gc.enable()


# What a program does that it need not


async def test_r12a_an_item_that_was_handed_to_a_coroutine_which_is_closed_goes_to_the_next(world):
    send, receive = open_channel(0)
    for end in ("close", "throw", "go"):
        waiting = receive.receive()
        waiting.send(None)
        send.send_nowait(end)
        with pytest.raises(WouldBlock):
            receive.receive_nowait()
        if end == "close":
            waiting.close()
        elif end == "throw":
            with pytest.raises(KeyError):
                waiting.throw(KeyError())
        del waiting
        assert receive.receive_nowait() == end


async def test_r12a_an_item_that_was_handed_to_what_the_collector_finds_goes_to_the_next(world):
    send, receive = open_channel(0)
    waiting = receive.receive()
    waiting.send(None)
    circle = [waiting]
    circle.append(circle)
    send.send_nowait(circle)
    del circle, waiting
    gc.collect()
    circle = receive.receive_nowait()
    assert circle[1] is circle


async def test_what_a_receiver_waits_for_is_not_set_by_other_code(world):
    send, receive = open_channel(0)
    async with Nursery() as nursery:
        task = nursery.start_soon(receive.receive)
        await turns(2)
        task._fut_waiter.set_result("not sent")
        await turns(2)
        assert not task.done()
        assert receive.statistics().waiting_receivers == 1
        send.send_nowait("sent")
        assert await task == "sent"


async def test_r11_a_refused_call_of_another_thread_changes_nothing(world):
    send, receive = open_channel(0)
    async with Nursery() as nursery:
        task = nursery.start_soon(receive.receive)
        await turns(2)
        for call in (lambda: send.send_nowait(1), send.close, receive.close):
            with pytest.raises(RuntimeError, match=r"channel.*another thread.*threadsafe"):
                await asyncio.to_thread(call)
        assert send.statistics() == (0, 0, 1, 1, 0, 1)
        await send.send(2)
        assert await task == 2


@pytest.mark.parametrize("capacity", [0, 1])
async def test_a_send_that_was_begun_by_hand_and_let_go_of_sends_nothing(world, capacity):
    send, receive = open_channel[object](capacity)
    for _ in range(capacity):
        send.send_nowait("first")
    item = Noted()
    gone = weakref.ref(item)
    sending = send.send(item)
    sending.send(None)
    del sending, item
    async with Nursery() as nursery:
        nursery.start_soon(send.send, "last")
        await turns(1)
        assert [await receive.receive() for _ in range(capacity + 1)][-1] == "last"
    assert gone() is None
    with pytest.raises(WouldBlock):
        receive.receive_nowait()


async def test_a_coroutine_that_is_never_awaited_warns_and_sends_nothing(world):
    send, receive = open_channel(1)
    with pytest.warns(RuntimeWarning, match="'SendChannel.send' was never awaited"):
        send.send(1)
    with pytest.warns(RuntimeWarning, match="'ReceiveChannel.aclose' was never awaited"):
        receive.aclose()
    assert receive.statistics()[:4] == (0, 1, 1, 1)


async def test_what_calls_a_plain_function_refuses_send(world):
    send, _ = open_channel(2)
    with pytest.raises(TypeError, match="async"):
        await aionursery.to_thread(send.send, 1)
    with pytest.raises(aionursery.MultiError) as info:
        async with Nursery(on_error=send.send) as nursery:
            nursery.start_soon(fail(ValueError()))
    assert "on_error was given an async function" in str(info.value.exceptions[0])
    assert send.statistics().buffered == 0


@pytest.mark.reports
async def test_r12b_what_is_called_by_a_cancellation_does_not_send(world):
    send, _ = open_channel(1)
    with CancelScope() as scope:
        scope.on_cancel(send.send, 1)
        scope.cancel()
        await aionursery.checkpoint()
    (report,) = world.reports
    assert "plain function" in str(report["exception"])
    assert send.statistics().buffered == 0


async def test_a_coroutine_is_awaited_once(world):
    send, receive = open_channel(1)
    sending = send.send(1)
    assert asyncio.iscoroutine(sending)
    await sending
    with pytest.raises(RuntimeError, match="already awaited"):
        await sending
    waiting = [receive.receive() for _ in range(2)]
    assert await asyncio.gather(waiting[0], send.send(2), waiting[1]) == [1, None, 2]
    with pytest.raises(RuntimeError, match="already awaited"):
        await waiting[0]


def test_an_end_is_referred_to_weakly_and_is_no_base_class():
    send, receive = open_channel[int](1)
    gone = []
    references = [weakref.ref(end, gone.append) for end in (send, receive)]
    assert [reference() for reference in references] == [send, receive]
    del send, receive
    assert gone == references
    for kind in (aionursery.SendChannel, aionursery.ReceiveChannel):
        assert kind[int].__origin__ is kind
        with pytest.raises(TypeError):
            kind()
        with pytest.raises(TypeError):
            type("Sub", (kind,), {})


def test_r31_ends_that_lie_in_each_other_go_however_deep():
    inner = None
    for _ in range(20_000):
        send, receive = open_channel(math.inf)
        send.send_nowait(inner)
        inner = receive
    del send, receive, inner


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_coroutines_that_lie_in_each_other_go_however_deep():
    send, _ = open_channel(0)
    inner = None
    for _ in range(20_000):
        inner = send.send(inner)
    del inner


def test_a_channel_that_holds_its_own_ends_is_collected():
    class Item:
        def __init__(self, *ends):
            self.ends = ends

        def __del__(self):
            for end in self.ends:
                end.close()

    send, receive = open_channel(math.inf)
    send.send_nowait(Item(send, receive))
    reference = weakref.ref(send)
    del send, receive
    gc.collect()
    assert reference() is None


def test_a_destructor_may_close_the_channel_that_drops_its_item():
    class Item:
        def __del__(self):
            seen.append(send.statistics()[:4])
            send.close()
            receive.close()

    seen = []
    send, receive = open_channel(math.inf)
    for _ in range(3):
        send.send_nowait(Item())
    receive.close()
    assert seen == [(0, math.inf, 1, 0), (0, math.inf, 0, 0), (0, math.inf, 0, 0)]
