//! What a program does, by the rules alone: time goes from one thing that happens to the next, and
//! at each all that follows from it is done. No futures, no wakers, no memory.
//!
//! What follows for what awaits the code that has just run is done at once, from the inside
//! outwards: that code goes on to its next await, cancelled or not. All else is done from the
//! outside inwards: what is cancelled farther out takes along what is inside.
//!
//! A task is a stack: its own code, and what that has opened. To drop a part of it is to drop all
//! above, so no part is dropped while a shield stands above it, or a nursery that has spawned children or
//! errors: such a one is cancelled first.

use std::collections::VecDeque;

use crate::program::{Act, Child, Event, Nursery, Step};
use crate::state::{Block, Kind, Model, Order, Part, Task};
use crate::{History, Open, history};

/// Less than this apart, the clock's steps might swap two things.
const APART: u64 = 50;

/// What happens in each moment, and which orders are open. `None` if two things happen so close to each other that the order
/// is not known.
pub fn run(program: &Nursery) -> Option<(History, Open)> {
    let mut model = Model::default();
    model.tasks.push(Task {
        id: None,
        nursery: None,
        spawned: false,
        shield: false,
        began: true,
        ended: false,
        asked: false,
        stack: vec![],
        wakes: None,
        delay: 0,
        sleeps: None,
    });
    model.open(0, 0, program.clone());
    model.go_on(0);
    model.ran(0);
    model.settle();
    while !model.blocks[0].over {
        let mut moments: Vec<u64> = model.moments().collect();
        moments.sort_unstable();
        let first = *moments.first().expect("a program ends");
        if moments.get(1).is_some_and(|second| second - first < APART) {
            return None;
        }
        model.now = first;
        model.happen();
        model.settle();
    }
    Some((history(model.log), model.open))
}

impl Model {
    /// What happens by itself now.
    fn happen(&mut self) {
        for at in 0..self.scopes.len() {
            let due = self.scopes[at].deadline == Some(self.now);
            if due && self.scopes[at].open && !self.reached(at) {
                self.scopes[at].cancelled = true;
                return;
            }
        }
        let due = |task: &Task| !task.ended && task.wakes == Some(self.now);
        let task = self.tasks.iter().position(due).expect("something happens");
        self.tasks[task].wakes = None;
        if let Some(id) = self.tasks[task].sleeps.take() {
            self.say(Event::Slept(id));
        }
        self.go_on(task);
        self.ran(task);
    }

    /// A task has run: what it stands in and what awaits it have their turn, from the inside
    /// outwards.
    fn ran(&mut self, mut task: usize) {
        let mut below = self.tasks[task].stack.len();
        loop {
            let (host, at, goes_on) = if let Some(at) = below.checked_sub(1) {
                let goes_on = match self.tasks[task].stack[at].kind {
                    Kind::Body(block) | Kind::Joining(block) => self.turn(block),
                    Kind::Scope(_) => self.stop(task, at),
                    Kind::Task | Kind::Gone => false,
                };
                (task, at, goes_on)
            } else {
                let nursery = self.tasks[task].nursery;
                let Some(block) = nursery.filter(|&block| !self.blocks[block].dropped) else {
                    return;
                };
                if self.tasks[task].spawned {
                    return;
                }
                let host = self.blocks[block].host;
                let is_its = |part: &Part| {
                    part.kind == Kind::Body(block) || part.kind == Kind::Joining(block)
                };
                let at = self.tasks[host].stack.iter().position(is_its).expect("it is awaited");
                (host, at, self.turn(block))
            };
            task = host;
            below = if goes_on { self.tasks[host].stack.len() } else { at };
        }
    }

    /// A nursery's turn. Returns whether the task that awaits it has run.
    fn turn(&mut self, block: usize) -> bool {
        let host = self.blocks[block].host;
        let body = self.tasks[host].stack.iter().position(|part| part.kind == Kind::Body(block));
        if let Some(at) = body {
            self.stop(host, at);
        }
        for child in self.children(block).collect::<Vec<_>>() {
            let it = &self.tasks[child];
            match (it.spawned, it.ended, it.began) {
                (false, false, true) => drop(self.stop(child, 0)),
                (false, false, false) => self.begin(child),
                _ => {}
            }
        }
        if self.is_done(block) {
            return self.close(block);
        }
        let it = &self.blocks[block];
        if !it.errors.is_empty() && !it.known {
            // With it its errors would be lost.
            self.make_known(block);
        }
        false
    }

    /// All else that follows.
    fn settle(&mut self) {
        while self.take_all_along() || self.stop_one() || self.begin_one() || self.close_one() {}
    }

    fn stop_one(&mut self) -> bool {
        (0..self.tasks.len()).any(|task| {
            let is_there = !self.tasks[task].ended && self.tasks[task].began;
            let stopped =
                is_there && (0..self.tasks[task].stack.len()).any(|at| self.stop(task, at));
            if stopped {
                self.ran(task);
            }
            stopped
        })
    }

    /// Drops a part of a task that was cancelled and has no shield in it.
    fn stop(&mut self, task: usize, at: usize) -> bool {
        self.take_along_at(task, at);
        let part = &self.tasks[task].stack[at];
        let (kind, scope) = (part.kind, part.scope);
        match kind {
            Kind::Task if self.is_to_end(task) && !self.held(task, 0) => {
                self.drop_task(task);
            }
            Kind::Scope(id) if self.reached(scope) && !self.held(task, at + 1) => {
                self.drop_above(task, at + 1);
                if self.taken_along(task, at) {
                    self.tasks[task].stack[at].kind = Kind::Gone;
                } else {
                    self.drop_above(task, at);
                    self.say(Event::Scope(id, false));
                    self.go_on(task);
                }
            }
            Kind::Body(block) if self.reached(scope) && !self.held(task, at + 1) => {
                self.drop_above(task, at + 1);
                self.tasks[task].stack[at].kind = Kind::Joining(block);
            }
            _ => return false,
        }
        true
    }

    /// Nurseries in what is to be dropped are cancelled. Returns whether one was not yet.
    fn take_all_along(&mut self) -> bool {
        let mut changed = false;
        for task in 0..self.tasks.len() {
            if self.tasks[task].ended || !self.tasks[task].began {
                continue;
            }
            for at in 0..self.tasks[task].stack.len() {
                changed |= self.take_along_at(task, at);
            }
        }
        changed
    }

    /// As [`take_all_along`](Self::take_all_along), for what one part of a task is to drop.
    fn take_along_at(&mut self, task: usize, at: usize) -> bool {
        let part = &self.tasks[task].stack[at];
        match part.kind {
            Kind::Task if self.is_to_end(task) => self.take_along(task, 0),
            Kind::Scope(_) | Kind::Body(_) if self.reached(part.scope) => {
                self.take_along(task, at + 1)
            }
            _ => false,
        }
    }

    /// A part of a task is to be dropped, and all above: the nurseries in it that have spawned
    /// children are cancelled, up to shields (R27a). Returns whether one was not yet.
    fn take_along(&mut self, task: usize, from: usize) -> bool {
        let mut changed = false;
        for at in from..self.tasks[task].stack.len() {
            let part = &self.tasks[task].stack[at];
            let (kind, scope) = (part.kind, part.scope);
            if kind != Kind::Task && self.scopes[scope].shield {
                break;
            }
            let (Kind::Body(block) | Kind::Joining(block)) = kind else { continue };
            if self.blocks[block].known && !self.scopes[scope].along {
                self.scopes[scope].along = true;
                self.scopes[scope].cancelled |= !self.reached(scope);
                changed = true;
            }
            for child in self.children(block).collect::<Vec<_>>() {
                let it = &self.tasks[child];
                if it.began && !it.spawned && !it.shield {
                    changed |= self.take_along(child, 0);
                }
            }
        }
        changed
    }

    fn drop_task(&mut self, task: usize) {
        if self.tasks[task].began
            && let Some(id) = self.tasks[task].id
        {
            self.say(Event::Dropped(id));
        }
        self.drop_above(task, 0);
        self.cut(task);
    }

    /// A task ends as cancelled.
    fn cut(&mut self, task: usize) {
        self.tasks[task].ended = true;
        if let Some(block) = self.tasks[task].nursery {
            self.blocks[block].cut = true;
        }
    }

    /// Drops a part of a task and all above, from the top.
    fn drop_above(&mut self, task: usize, at: usize) {
        self.tasks[task].wakes = None;
        self.tasks[task].sleeps = None;
        while self.tasks[task].stack.len() > at {
            let part = self.tasks[task].stack.pop().expect("one is left");
            match part.kind {
                Kind::Body(block) | Kind::Joining(block) => self.drop_block(block),
                Kind::Scope(_) | Kind::Gone => self.scopes[part.scope].open = false,
                Kind::Task => {}
            }
        }
    }

    /// Its own children go at once, spawned ones when they can, and the nursery above waits for them.
    fn drop_block(&mut self, block: usize) {
        let scope = self.blocks[block].scope;
        self.scopes[scope].open = false;
        self.scopes[scope].cancelled = true;
        self.blocks[block].dropped = true;
        for child in self.children(block).collect::<Vec<_>>() {
            if !self.tasks[child].spawned {
                self.drop_task(child);
            }
        }
        let heir = self.heir(block);
        let errors = self.blocks[block].errors.len() + self.blocks[block].adopted;
        self.blocks[heir].adopted += errors;
        if errors > 0 || self.children(block).next().is_some() {
            // What has something to give back is waited for as is one that has spawned children.
            self.make_known(heir);
        }
    }

    fn begin_one(&mut self) -> bool {
        let fresh = |task: &Task| !task.began && !task.ended;
        let Some(task) = self.tasks.iter().position(fresh) else { return false };
        self.begin(task);
        true
    }

    /// A child's first step, or, if it was cancelled before, its end (R17).
    fn begin(&mut self, task: usize) {
        if self.is_to_end(task) {
            self.cut(task);
            return;
        }
        self.tasks[task].began = true;
        self.tasks[task].wakes = Some(self.now + self.tasks[task].delay);
        if let Some(id) = self.tasks[task].id {
            self.say(Event::Began(id));
        }
    }

    fn close_one(&mut self) -> bool {
        let Some(block) = (0..self.blocks.len()).find(|&block| self.is_done(block)) else {
            return false;
        };
        if self.close(block) {
            self.ran(self.blocks[block].host);
        }
        true
    }

    /// A nursery whose body and children have ended gives its verdict (R1, R7).
    /// Returns whether the task that awaits it has run.
    fn close(&mut self, block: usize) -> bool {
        let host = self.blocks[block].host;
        let it = &mut self.blocks[block];
        it.over = true;
        let failed = !it.errors.is_empty() || it.adopted > 0;
        let (id, scope, passes_on) = (it.id, it.scope, it.passes_on);
        let at = self.tasks[host].stack.len() - 1;
        let shown = (failed || !it.value).then(|| (it.errors.clone(), it.adopted));
        if !failed && (shown.is_some() || it.cut) && self.taken_along(host, at) {
            self.tasks[host].stack.last_mut().expect("its body's").kind = Kind::Gone;
            return false;
        }
        self.tasks[host].stack.pop();
        self.scopes[scope].open = false;
        let fails = shown.is_some() && passes_on;
        let it = &self.blocks[block];
        if it.known {
            let moments = it.errors.iter().copied().zip(it.moments.iter().copied());
            self.open.insert(id, moments.collect());
        }
        self.say(Event::Nursery(id, shown));
        if self.tasks[host].nursery.is_none() && self.tasks[host].stack.is_empty() {
            self.tasks[host].ended = true;
        } else if fails {
            self.fail(host, id);
        } else {
            self.go_on(host);
        }
        true
    }

    /// A task runs until it waits or ends.
    fn go_on(&mut self, task: usize) {
        while let Some(part) = self.tasks[task].stack.last_mut() {
            let (kind, scope) = (part.kind, part.scope);
            if matches!(kind, Kind::Joining(_) | Kind::Gone) {
                return;
            }
            let Some(order) = part.code.pop_front() else {
                match kind {
                    Kind::Task => {
                        self.tasks[task].ended = true;
                        self.tasks[task].stack.pop();
                        if let Some(id) = self.tasks[task].id {
                            self.say(Event::Returned(id));
                        }
                    }
                    Kind::Scope(id) => {
                        self.tasks[task].stack.pop();
                        self.scopes[scope].open = false;
                        self.say(Event::Scope(id, true));
                    }
                    Kind::Body(block) => {
                        self.blocks[block].value = true;
                        part.kind = Kind::Joining(block);
                    }
                    Kind::Joining(_) | Kind::Gone => unreachable!("they have no code"),
                }
                continue;
            };
            let Step { id, act } = match order {
                Order::Step(step) => step,
                Order::Stop(other) => {
                    self.tasks[other].asked = true;
                    continue;
                }
            };
            match act {
                Act::Sleep(time) => return self.sleep(task, id, time),
                Act::Cancel(time) => {
                    let block = self.nearest(task);
                    self.scopes[self.blocks[block].scope].cancelled = true;
                    return self.sleep(task, id, time);
                }
                Act::Fail => return self.fail(task, id),
                Act::Start(child) => self.start(task, id, child),
                Act::Scope { shield, deadline, code } => {
                    let inside = self.scope(Some(scope), shield, deadline);
                    let kind = self.entered(inside, Kind::Scope(id));
                    let code = code.into_iter().map(Order::Step).collect();
                    self.tasks[task].stack.push(Part { kind, scope: inside, code });
                }
                Act::Nursery(nursery) => self.open(task, id, nursery),
            }
        }
    }

    fn sleep(&mut self, task: usize, id: usize, time: u64) {
        self.tasks[task].wakes = Some(self.now + time);
        self.tasks[task].sleeps = Some(id);
    }

    fn open(&mut self, task: usize, id: usize, nursery: Nursery) {
        let Nursery { shield, collect, deadline, passes_on, code } = nursery;
        let parent = self.tasks[task].stack.last().map(|part| part.scope);
        let scope = self.scope(parent, shield, deadline);
        let block = self.blocks.len();
        self.blocks.push(Block {
            id,
            scope,
            collect,
            passes_on,
            host: task,
            value: false,
            cut: false,
            errors: vec![],
            moments: vec![],
            adopted: 0,
            over: false,
            dropped: false,
            known: false,
        });
        let kind = self.entered(scope, Kind::Body(block));
        self.blocks[block].over = kind == Kind::Gone;
        let code = code.into_iter().map(Order::Step).collect();
        self.tasks[task].stack.push(Part { kind, scope, code });
    }

    fn start(&mut self, task: usize, id: usize, child: Child) {
        let Child { spawned, shield, delay, by_hand, code } = child;
        let block = self.nearest(task);
        if self.blocks[block].dropped {
            return;
        }
        if spawned {
            self.make_known(block);
        }
        let within = self.blocks[block].scope;
        let code = code.into_iter().map(Order::Step).collect();
        let scope = if shield { self.scope(Some(within), true, None) } else { within };
        self.add(Some(id), block, scope, spawned, shield, delay, code);
        if let Some(time) = by_hand {
            let code = VecDeque::from([Order::Stop(self.tasks.len() - 1)]);
            self.add(None, block, within, false, false, time, code);
        }
    }

    /// A nursery has spawned children, or errors: so have, to those around, the nurseries that it stands in, up to
    /// the next shield, and to the next task of the runtime's.
    fn make_known(&mut self, mut block: usize) {
        loop {
            self.blocks[block].known = true;
            let host = self.blocks[block].host;
            let is_its =
                |part: &Part| part.kind == Kind::Body(block) || part.kind == Kind::Joining(block);
            let at = self.tasks[host].stack.iter().position(is_its).expect("it is awaited");
            for part in self.tasks[host].stack[..=at].iter().rev() {
                let shields = part.kind != Kind::Task && self.scopes[part.scope].shield;
                if shields {
                    return;
                }
                if let Kind::Body(outer) | Kind::Joining(outer) = part.kind {
                    self.blocks[outer].known = true;
                }
            }
            let it = &self.tasks[host];
            match it.nursery.filter(|_| !it.spawned && !it.shield) {
                Some(outer) => block = outer,
                None => return,
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a child is all of this")]
    fn add(
        &mut self,
        id: Option<usize>,
        block: usize,
        scope: usize,
        spawned: bool,
        shield: bool,
        delay: u64,
        code: VecDeque<Order>,
    ) {
        self.tasks.push(Task {
            id,
            nursery: Some(block),
            spawned,
            shield,
            began: false,
            ended: false,
            asked: false,
            stack: vec![Part { kind: Kind::Task, scope, code }],
            wakes: None,
            delay,
            sleeps: None,
        });
    }

    /// A task's code fails: up to the nursery whose body it is, or the child's own.
    fn fail(&mut self, task: usize, error: usize) {
        while let Some(part) = self.tasks[task].stack.last_mut() {
            let (kind, scope) = (part.kind, part.scope);
            match kind {
                Kind::Body(block) => {
                    part.kind = Kind::Joining(block);
                    return self.report(block, error);
                }
                Kind::Task => {
                    self.tasks[task].stack.pop();
                    self.tasks[task].ended = true;
                    if let Some(id) = self.tasks[task].id {
                        self.say(Event::Failed(id));
                    }
                    let block = self.tasks[task].nursery.expect("it is a child");
                    return self.report(block, error);
                }
                Kind::Scope(_) => {
                    self.scopes[scope].open = false;
                    self.tasks[task].stack.pop();
                }
                Kind::Joining(_) | Kind::Gone => unreachable!("they have no code"),
            }
        }
    }

    /// An error is kept, and cancels (R6), or goes to the nursery that adopted the child (R28).
    fn report(&mut self, block: usize, error: usize) {
        if self.blocks[block].dropped {
            let heir = self.heir(block);
            self.blocks[heir].adopted += 1;
            return;
        }
        self.blocks[block].errors.push(error);
        self.blocks[block].moments.push(self.now);
        if !self.blocks[block].collect {
            self.scopes[self.blocks[block].scope].cancelled = true;
        }
    }
}
