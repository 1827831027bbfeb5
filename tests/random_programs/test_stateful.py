"""Live trees, grown and cut step by step: the rules hold after each step, not only at the end.

Each task of a tree is a puppet: it waits for an order, carries it out, waits for the next. The
rules of the machine give orders to whichever puppet is free, cancel what they please, move the
virtual clock. At the end everything is cancelled, and the whole run is judged.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import aionursery
from aionursery._aionursery import loop_state

from .clock import BoundedLoop
from .interpreter import Boom, Me, Recorder, never
from .record import Place, Run, Swallowed
from .rules import complaints
from .settings import drawn

ANY = st.integers(0, 7)
SECONDS = st.sampled_from([math.inf, 1.0, 2.0, 3.0])
CLEANUP = st.sampled_from([None, None, 0.0, 2.0])
#: Turns in which all that is ready has happened, and no clock has moved.
SETTLED = 40


class Puppet:
    """A task that does as it is told."""

    def __init__(self, recorder: Recorder, me: Me) -> None:
        self.recorder = recorder
        self.me = me
        #: What it waits for while it is free; the result is an order, None to leave the block.
        self.order: asyncio.Future[Any] | None = None
        #: The scopes whose cancellation has come in.
        self.felt: set[str] = set()

    async def obey(self, _: Me) -> None:
        """Carry out orders until one says to leave the block."""
        while True:
            self.order = order = asyncio.get_running_loop().create_future()
            try:
                await self.recorder.wait(self.me, order)
            except asyncio.CancelledError:
                self.felt |= self.me.place.reached_by()
                raise
            finally:
                self.order = None
            if order.result() is None:
                return
            await order.result()()


class LiveTrees(RuleBasedStateMachine):
    """A tree whose first task is one of asyncio's or of ours."""

    ours = False

    @initialize()
    def begin(self) -> None:
        self.loop = BoundedLoop()
        if self.ours:
            self.loop.set_task_factory(aionursery.task_factory)
        self.run = Run()
        self.loop.set_exception_handler(lambda _, context: self.run.reports.append(context))
        self.recorder = Recorder(self.run)
        self.puppets: list[Puppet] = []
        self.scopes: list[Any] = []
        self.nurseries: list[tuple[Any, Place, list[tuple[str, asyncio.Task[Any]]]]] = []
        self.named = 0
        self.loop.call_soon(aionursery.warn_stuck_after, math.inf)
        self.first = self.loop.create_task(self.puppet(Place("0", None, never, edge=True)))
        self.settle()

    def name(self) -> str:
        self.named += 1
        return str(self.named)

    def puppet(self, place: Place) -> Coroutine[Any, Any, None]:
        async def body(me: Me) -> None:
            puppet = Puppet(self.recorder, me)
            self.puppets.append(puppet)
            try:
                await puppet.obey(me)
            finally:
                self.puppets.remove(puppet)

        return self.recorder.child(place.name, place, body)

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        self.loop.turns = 0
        for _ in range(SETTLED):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def tell(self, which: int, order: Callable[[Puppet], Any] | None) -> None:
        """Give an order to a free puppet; None is to leave its block."""
        free = [puppet for puppet in self.puppets if puppet.order and not puppet.order.done()]
        if not free:
            return
        puppet = free[which % len(free)]
        assert puppet.order is not None
        puppet.order.set_result(None if order is None else lambda: order(puppet))

    @rule(which=ANY, shield=st.booleans(), seconds=SECONDS, cleanup=CLEANUP)
    def open_scope(self, which, shield, seconds, cleanup):
        async def order(puppet: Puppet) -> None:
            deadline = self.loop.time() + seconds
            scope = aionursery.CancelScope(deadline=deadline, shield=shield, cleanup=cleanup)
            self.scopes.append(scope)
            place = Place(self.name(), puppet.me.place, lambda: scope.cancel_called, shield)
            try:
                await self.recorder.within(puppet.me, place, "scope", scope, puppet.obey)
            finally:
                self.scopes.remove(scope)

        self.tell(which, order)
        self.settle()

    @rule(
        which=ANY,
        collect=st.booleans(),
        shield=st.booleans(),
        seconds=SECONDS,
        cleanup=CLEANUP,
        children=st.integers(0, 3),
    )
    def open_nursery(self, which, collect, shield, seconds, cleanup, children):
        async def order(puppet: Puppet) -> None:
            nursery = aionursery.Nursery(
                on_error="collect" if collect else "cancel",
                deadline=self.loop.time() + seconds,
                shield=shield,
                cleanup=cleanup,
            )
            scope = nursery.cancel_scope
            place = Place(self.name(), puppet.me.place, lambda: scope.cancel_called, shield)
            entry = (nursery, place, [])

            async def body(me: Me) -> None:
                self.scopes.append(scope)
                self.nurseries.append(entry)
                for _ in range(children):
                    self.start_in(entry, "soon")
                await puppet.obey(me)

            def alive() -> tuple[str, ...]:
                if entry in self.nurseries:
                    self.nurseries.remove(entry)
                    self.scopes.remove(scope)
                return tuple(name for name, task in entry[2] if not task.done())

            kind = "collect" if collect else "nursery"
            await self.recorder.within(puppet.me, place, kind, nursery, body, alive)

        self.tell(which, order)
        self.settle()

    def start_in(self, entry: Any, how: str) -> None:
        nursery, place, children = entry
        name = self.name()
        place = Place(name, place, never, shield=how == "shield", edge=True)
        coro = self.puppet(place)
        children.append((name, nursery.start_soon(coro, shield=how == "shield")))

    @precondition(lambda self: self.nurseries)
    @rule(which=ANY, how=st.sampled_from(["soon", "shield"]))
    def start(self, which, how):
        entry = self.nurseries[which % len(self.nurseries)]
        self.loop.call_soon(self.start_in, entry, how)
        self.settle()

    @rule(which=ANY)
    def handle_what_comes(self, which):
        async def order(puppet: Puppet) -> None:
            try:
                await puppet.obey(puppet.me)
            except asyncio.CancelledError:
                # It may have come while a nursery was joining.
                puppet.felt |= puppet.me.place.reached_by()
                self.run.add(Swallowed(puppet.me.name, puppet.me.count()))
            except Exception as error:
                self.recorder.handles(puppet.me, error)

        self.tell(which, order)
        self.settle()

    @rule(which=ANY)
    def leave(self, which):
        self.tell(which, None)
        self.settle()

    @rule(which=ANY)
    def fail(self, which):
        async def order(puppet: Puppet) -> None:
            error = Boom(self.name())
            self.recorder.raises(puppet.me, error)
            raise error

        self.tell(which, order)
        self.settle()

    @rule(which=ANY, also=st.booleans(), task=ANY)
    def cancel_a_scope_and_perhaps_a_task_in_the_same_moment(self, which, also, task):
        if self.scopes:
            self.scopes[which % len(self.scopes)].cancel("by a rule")
        if also:
            self.ask(task)
        self.settle()

    @rule(which=ANY)
    def cancel_a_task(self, which):
        self.ask(which)
        self.settle()

    def ask(self, which: int) -> None:
        if self.puppets:
            self.recorder.ask(self.puppets[which % len(self.puppets)].me.name)

    @rule(seconds=st.sampled_from([1.0, 2.0]))
    def let_time_pass(self, seconds):
        self.loop.call_later(seconds, self.loop.stop)
        self.loop.run_forever()
        self.settle()

    @invariant()
    def a_cancellation_has_come_to_everyone_below(self) -> None:
        """R12: at rest, every task that waits in a cancelled scope has heard of it."""
        for puppet in self.puppets:
            reached = puppet.me.place.reached_by()
            if puppet.order and not puppet.order.done() and reached:
                assert reached & puppet.felt, f"R12: {puppet.me.name} waits in {set(reached)}"

    @invariant()
    def the_rules_hold_so_far(self) -> None:
        early = [wrong for wrong in complaints(self.run) if not wrong.endswith("was lost")]
        assert not early, "\n".join(early)

    def teardown(self) -> None:
        """Shut down: cancel everything, tell the shielded tasks to leave, and judge the whole."""
        for _ in range(50):
            if self.first.done():
                break
            for scope in list(self.scopes):
                scope.cancel("shutting down")
            for puppet in list(self.puppets):
                self.recorder.ask(puppet.me.name)
            self.settle()
            for _ in list(self.puppets):
                self.tell(0, None)
            self.settle()
        assert self.first.done(), "R3: the tree does not end"
        if not self.first.cancelled():
            self.run.outcome = self.first.exception()
        self.run.tasks_after = [task.get_name() for task in asyncio.all_tasks(self.loop)]
        self.run.size_after = loop_state(self.loop).size()
        self.loop.close()
        wrong = complaints(self.run)
        assert not wrong, "\n".join([*wrong, *map(repr, self.run.events)])


class LiveTreesOfOurs(LiveTrees):
    ours = True


TestLiveTreesInATaskOfAsyncios = LiveTrees.TestCase
TestLiveTreesInATaskOfOurs = LiveTreesOfOurs.TestCase
TestLiveTreesInATaskOfAsyncios.settings = settings(drawn(0.3), stateful_step_count=30)
TestLiveTreesInATaskOfOurs.settings = settings(drawn(0.3), stateful_step_count=30)
