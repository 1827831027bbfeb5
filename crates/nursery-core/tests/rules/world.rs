//! A tree and the tasks in it, driven as a face drives them: it keeps each task's count, brings
//! deliveries to their tasks, takes charges back. It must decide nothing that the tree decides.

use std::num::NonZeroUsize;

use nursery_core::{
    AtWait, Cause, Cleanup, Close, Delivery, Effects, Event, Exit, Face, Flight, Identity,
    MemberId, NurseryId, Outcome, Requests, ScopeId, Settings, Source, Tree, Verdict,
};

/// The face of these tests: tasks are numbers.
pub struct Plain;

impl Face for Plain {
    type Key = usize;
    type Error = Oops;
    type Reason = &'static str;
    type Wake = ();
    type Watch = usize;
    const TELLS_WHY: bool = true;
}

/// An error; two of one number are one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oops(pub usize);

impl Identity for Oops {
    fn identity(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.0)
    }
}

#[derive(Clone, Debug)]
pub struct Task {
    pub member: MemberId,
    pub requests: Requests,
    /// How often its `cancel` was called.
    pub outside: u32,
    /// What it waits for brings a `CancelledError`.
    pub handed: bool,
    pub foreign: bool,
    pub alive: bool,
}

/// The first of the errors that say that a nursery was not left.
pub const LEFT_BEHIND: usize = 1_000_000;

/// What a step has thrown, and on whose account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thrown {
    pub outside: bool,
    pub scope: bool,
}

impl Thrown {
    pub fn any(self) -> bool {
        self.outside || self.scope
    }
}

#[derive(Clone)]
pub struct World {
    pub tree: Tree<Plain>,
    pub tasks: Vec<Task>,
    pub now: f64,
    /// What the tree has handed back: errors that were reported before, and how many reasons.
    pub again: Vec<Oops>,
    pub reasons: usize,
    /// Nurseries that have closed and that another had joined.
    pub joined: Vec<NurseryId>,
    /// Watches that were to be called, in order, and those that were handed back without.
    pub called: Vec<usize>,
    pub let_go: Vec<usize>,
    orphans: usize,
}

impl World {
    pub fn new() -> Self {
        let (tree, tasks, again) = (Tree::new(), Vec::new(), Vec::new());
        let (joined, called, let_go) = (Vec::new(), Vec::new(), Vec::new());
        Self { tree, tasks, now: 0.0, again, reasons: 0, joined, called, let_go, orphans: 0 }
    }

    /// Changes the tree and brings what comes of it to the tasks. What is to throw is told so
    /// in that very moment, once (R12), and so is what is not to throw any more.
    pub fn change<R>(
        &mut self,
        act: impl FnOnce(&mut Tree<Plain>, f64, &mut Effects<Plain>) -> R,
    ) -> R {
        let before: Vec<bool> = self.tasks.iter().map(|task| self.is_pending(task)).collect();
        let mut out = Effects::default();
        let result = act(&mut self.tree, self.now, &mut out);
        self.again.extend(out.errors);
        self.reasons += out.reasons.len();
        for event in out.events {
            match event {
                Event::Joined(nursery) => self.joined.push(nursery),
                Event::Lost(_) => {}
                Event::Called(watch) => self.called.push(watch),
                Event::Uncalled(watch) => self.let_go.push(watch),
            }
        }
        // By the last delivery: whether it is to throw.
        let mut told = vec![None; self.tasks.len()];
        let mut thrown = vec![false; self.tasks.len()];
        for Delivery { key, charges, throw, spared, .. } in out.deliveries {
            assert!(self.tasks[key].alive, "a task that has ended is told of a cancellation");
            assert!(!(throw && spared), "task {key} is told two things");
            if throw {
                assert!(!thrown[key], "task {key} is told twice in one moment");
                thrown[key] = true;
            }
            if throw || spared {
                told[key] = Some(throw);
            }
            assert!(charges == 0 || !self.tasks[key].foreign, "a foreign task counts by itself");
            for _ in 0..charges {
                self.tasks[key].requests.ask();
            }
        }
        for (key, task) in self.tasks.iter().enumerate().filter(|(_, task)| task.alive) {
            let told = told[key].or(before.get(key).copied()).unwrap_or_default();
            assert_eq!(self.is_pending(task), told, "what task {key} was told");
        }
        result
    }

    fn is_pending(&self, task: &Task) -> bool {
        task.alive && self.tree.is_pending(task.member)
    }

    fn add(&mut self, member: MemberId, foreign: bool) -> usize {
        let requests = Requests::default();
        self.tasks.push(Task { member, requests, outside: 0, handed: false, foreign, alive: true });
        self.tasks.len() - 1
    }

    /// A task that has entered the tree by another way than `start`.
    pub fn adopt_task(&mut self, member: MemberId) -> usize {
        self.add(member, false)
    }

    pub fn enroll(&mut self, foreign: bool) -> usize {
        let member = self.tree.enroll(self.tasks.len(), foreign);
        self.add(member, foreign)
    }

    pub fn withdraw(&mut self, task: usize) {
        self.tasks[task].alive = false;
        let member = self.tasks[task].member;
        self.change(|tree, _, out| tree.withdraw(member, out));
    }

    pub fn enter(&mut self, task: usize, settings: Settings) -> ScopeId {
        let Task { member, requests, .. } = self.tasks[task];
        self.change(|tree, now, out| tree.enter(member, settings, requests.honoured(), now, out))
    }

    pub fn exit(&mut self, task: usize, scope: ScopeId, flight: Flight) -> Exit<&'static str> {
        let honoured = self.tasks[task].requests.honoured();
        let exit = self.change(|tree, now, out| tree.exit(scope, flight, honoured, now, out));
        self.take_back(task, exit.take_back);
        assert!(!exit.watched || self.tree.watches().count() > 0);
        self.let_go.extend(self.tree.uncalled());
        exit
    }

    pub fn open(&mut self, task: usize, settings: Settings, collect: bool) -> NurseryId {
        let Task { member, requests, .. } = self.tasks[task];
        let honoured = requests.honoured();
        self.change(|tree, now, out| tree.open(member, settings, collect, honoured, now, out))
    }

    /// The host leaves a closed nursery. `held`: a cancellation from outside came while it joined.
    pub fn close(
        &mut self,
        task: usize,
        nursery: NurseryId,
        held: bool,
    ) -> Close<Oops, &'static str> {
        let honoured = self.tasks[task].requests.honoured();
        let close = self.change(|tree, now, out| tree.close(nursery, honoured, held, now, out));
        self.take_back(task, close.exit.take_back);
        if close.overtaken > 0 {
            self.tasks[task].requests.wait();
        }
        close
    }

    pub fn take_back(&mut self, task: usize, count: u32) {
        for _ in 0..count {
            self.tasks[task].requests.take_back();
        }
    }

    /// Starts a child; `None` if the nursery refuses it.
    pub fn start(&mut self, nursery: NurseryId, shield: bool) -> Option<usize> {
        let start = self.tree.start(nursery, self.tasks.len(), shield).ok()?;
        let child = self.add(start.member, false);
        for _ in 0..start.charges {
            self.tasks[child].requests.ask();
        }
        Some(child)
    }

    /// A child begins its first step, in which no scope's cancellation is thrown (R17).
    pub fn begin(&mut self, child: usize) {
        self.tree.hears_from_now(self.tasks[child].member, self.now);
    }

    pub fn end(&mut self, child: usize, outcome: Outcome<Oops>) -> Option<NurseryId> {
        self.tasks[child].alive = false;
        let member = self.tasks[child].member;
        self.change(|tree, now, out| tree.ended(member, outcome, now, Some("sibling"), out))
    }

    pub fn body_ended(&mut self, nursery: NurseryId, outcome: Outcome<Oops>) -> bool {
        self.change(|tree, now, out| tree.body_ended(nursery, outcome, now, Some("body"), out))
    }

    pub fn host_cancelled(&mut self, nursery: NurseryId) {
        self.change(|tree, now, out| tree.host_cancelled(nursery, None, now, out));
    }

    /// A scope is taken away by other code than its host. Returns whether it was cancelled.
    pub fn remove(&mut self, task: usize, scope: ScopeId) -> bool {
        let (cause, owed) = self.change(|tree, now, out| tree.remove(scope, now, out));
        self.take_back(task, owed);
        cause.is_some()
    }

    /// A nursery is no longer its host's.
    pub fn disown(&mut self, task: usize, nursery: NurseryId) {
        let owed = self.change(|tree, now, out| tree.disown(nursery, now, out));
        self.take_back(task, owed);
    }

    /// A nursery that has closed, and that no host leaves, goes: what it would have raised.
    pub fn discard(&mut self, nursery: NurseryId) -> Verdict<Oops> {
        self.change(|tree, now, out| tree.discard(nursery, None, now, out)).0
    }

    /// A child becomes another nursery's; `None` if that refuses it.
    pub fn move_child(&mut self, child: usize, to: NurseryId) -> Option<Option<NurseryId>> {
        let member = self.tasks[child].member;
        let before = self.tree.charges(member);
        let closed = self.change(|tree, now, out| tree.move_child(member, to, now, out)).ok()?;
        assert!(self.tree.charges(member) >= before, "nothing is taken back by that");
        Some(closed)
    }

    /// A child ends without having left its nurseries: they are adopted before. `released`: nothing
    /// will ask for them.
    pub fn end_inside(
        &mut self,
        child: usize,
        outcome: Outcome<Oops>,
        released: bool,
    ) -> Option<NurseryId> {
        let member = self.tasks[child].member;
        for nursery in self.tree.unleft(member) {
            if released {
                self.change(|tree, _, out| tree.release(nursery, out));
            }
            let error = Oops(LEFT_BEHIND + self.orphans);
            self.orphans += 1;
            self.change(|tree, now, out| tree.adopt(nursery, error, Some("orphan"), now, out));
        }
        self.end(child, outcome)
    }

    pub fn cancel(&mut self, scope: ScopeId) -> bool {
        let cause = Cause { source: Source::Explicit, reason: Some("asked") };
        self.change(|tree, now, out| tree.cancel(scope, cause, now, out))
    }

    pub fn watch(&mut self, scope: ScopeId, watch: usize) {
        self.change(|tree, _, out| tree.watch(scope, watch, out));
    }

    pub fn unwatch(&mut self, scope: ScopeId, watch: usize) -> bool {
        self.tree.unwatch(scope, |other| *other == watch).is_some()
    }

    /// The task's own `cancel` is called. `handed`: what it waits for brings the error.
    pub fn ask(&mut self, task: usize, handed: bool) {
        let task = &mut self.tasks[task];
        task.outside += 1;
        task.requests.ask();
        if handed {
            task.handed = true;
        } else {
            task.requests.wait();
        }
    }

    /// A step of a task that waits: what it throws.
    pub fn step(&mut self, task: usize) -> Thrown {
        let Task { member, requests, foreign, handed, .. } = self.tasks[task];
        let held_back = !foreign && self.tree.is_shielded(member);
        let asked = requests.is_waiting() && !held_back;
        let scope = self.tree.is_pending(member);
        if foreign {
            // It is cancelled by its own `cancel`.
            let at_wait = self.tree.at_wait(member, false);
            assert_eq!(matches!(at_wait, AtWait::Cancel(_)), scope);
        } else if scope {
            self.tree.thrown(member);
        }
        let task = &mut self.tasks[task];
        task.handed = false;
        if asked {
            task.requests.deliver();
        }
        if scope && foreign {
            task.requests.ask();
        }
        Thrown { outside: asked || handed, scope }
    }

    /// It is now `now`: what the alarms do. Returns how many there were.
    pub fn advance(&mut self, now: f64) -> usize {
        self.now = now;
        let mut count = 0;
        while self.change(|tree, now, out| tree.advance(now, out)).is_some() {
            count += 1;
        }
        count
    }

    pub fn pending(&self, task: usize) -> bool {
        self.tree.is_pending(self.tasks[task].member)
    }

    pub fn cancelled(&self, task: usize) -> bool {
        self.tree.is_cancelled(self.tasks[task].member)
    }

    /// Whether a step would throw.
    pub fn would_throw(&self, task: usize) -> bool {
        let Task { member, requests, foreign, handed, .. } = self.tasks[task];
        let held_back = !foreign && self.tree.is_shielded(member);
        handed || self.tree.is_pending(member) || (requests.is_waiting() && !held_back)
    }

    /// A wait begins: whether it is cancelled at once.
    pub fn suspended(&mut self, task: usize) -> bool {
        let now = self.now;
        self.tree.suspended(self.tasks[task].member, || now)
    }

    /// R14: a task's count is what others have asked of it and what the tree has charged it.
    pub fn audit(&self) {
        for (key, task) in self.tasks.iter().enumerate().filter(|(_, task)| task.alive) {
            let owed = self.tree.charges(task.member);
            assert_eq!(task.requests.asked(), task.outside + owed, "the count of task {key}");
        }
    }

    /// Nothing is left behind, and every charge was taken back.
    pub fn assert_empty(&self) {
        assert_eq!(self.tree.size(), (0, 0, 0), "scopes, tasks and nurseries are left behind");
        assert!(self.tree.timers.is_empty(), "timers are left behind");
    }
}

/// A scope with nothing special.
pub const PLAIN: Settings =
    Settings { deadline: f64::INFINITY, shield: false, cleanup: Cleanup::Inherited, abrupt: false };
pub const SHIELD: Settings = Settings { shield: true, ..PLAIN };

/// A scope with a deadline.
pub fn until(deadline: f64) -> Settings {
    Settings { deadline, ..PLAIN }
}

/// A scope with a budget for cleaning up.
pub fn cleaning(seconds: f64) -> Settings {
    Settings { cleanup: Cleanup::Limited(seconds), ..PLAIN }
}

/// A scope with a budget that what is in it has also if a scope above is cancelled.
pub fn guaranteeing(seconds: f64) -> Settings {
    Settings { cleanup: Cleanup::Guaranteed(seconds), ..PLAIN }
}

/// A world with one task in it.
pub fn host(foreign: bool) -> (World, usize) {
    let mut world = World::new();
    let host = world.enroll(foreign);
    (world, host)
}

/// The host leaves its last scope and the tree; nothing stays behind.
pub fn finish(mut world: World, host: usize) {
    world.audit();
    world.withdraw(host);
    world.assert_empty();
}
