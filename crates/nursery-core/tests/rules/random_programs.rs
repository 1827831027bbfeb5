//! Random programs: trees of scopes, nurseries and shields, with deadlines and budgets, whose every
//! state is compared with a model that keeps no state of cancellation but what it finds by walking
//! up from a task. A failure prints the number of its program.

use nursery_core::{Flight, NurseryId, Outcome, ScopeId, Settings, Verdict};

use crate::world::{Oops, World};

/// A small generator, so that the test needs no dependency and repeats itself exactly.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

struct Block {
    /// `None` for the wall of a shielded child, which nobody can name.
    id: Option<ScopeId>,
    nursery: Option<NurseryId>,
    parent: Option<usize>,
    host: usize,
    settings: Settings,
    cancelled_at: Option<f64>,
    /// By a cancellation of its host or body, which is not its own to catch.
    by_host: bool,
    told: bool,
    baseline: u32,
    children: usize,
    body_over: bool,
    body_cancelled: bool,
    held: bool,
    failed: bool,
    left: bool,
}

struct Task {
    /// The nursery's block that it is a child of.
    base: Option<usize>,
    wall: Option<usize>,
    stack: Vec<usize>,
    base_told: bool,
    joins: bool,
    done: bool,
}

struct Program {
    random: Random,
    world: World,
    blocks: Vec<Block>,
    tasks: Vec<Task>,
    errors: usize,
}

const DEEP: usize = 4;
const MANY: usize = 14;

impl Program {
    fn new(seed: u64) -> Self {
        let random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut program =
            Self { random, world: World::new(), blocks: Vec::new(), tasks: Vec::new(), errors: 0 };
        for foreign in [false, true] {
            program.world.enroll(foreign);
            program.add_task(None, false);
        }
        program
    }

    fn add_task(&mut self, base: Option<usize>, shield: bool) {
        let host = self.tasks.len();
        let wall = shield.then(|| {
            let settings = Settings { shield: true, ..Settings::default() };
            self.add_block(None, None, base, host, settings)
        });
        let stack = Vec::new();
        let task = Task { base, wall, stack, base_told: false, joins: false, done: false };
        self.tasks.push(task);
    }

    fn add_block(
        &mut self,
        id: Option<ScopeId>,
        nursery: Option<NurseryId>,
        parent: Option<usize>,
        host: usize,
        settings: Settings,
    ) -> usize {
        let past = settings.deadline <= self.world.now;
        self.blocks.push(Block {
            id,
            nursery,
            parent,
            host,
            settings,
            cancelled_at: past.then_some(self.world.now),
            by_host: false,
            told: false,
            baseline: 0,
            children: 0,
            body_over: false,
            body_cancelled: false,
            held: false,
            failed: false,
            left: false,
        });
        self.blocks.len() - 1
    }

    // The model

    fn place(&self, task: usize) -> Option<usize> {
        let task = &self.tasks[task];
        task.stack.last().copied().or(task.wall).or(task.base)
    }

    /// The cancelled blocks that can be seen from one, inside out: up to the first shield.
    fn visible(&self, mut at: Option<usize>) -> Vec<usize> {
        let mut found = Vec::new();
        while let Some(block) = at {
            if self.blocks[block].cancelled_at.is_some() {
                found.push(block);
            }
            if self.blocks[block].settings.shield {
                break;
            }
            at = self.blocks[block].parent;
        }
        found
    }

    fn above(&self, block: usize) -> bool {
        !self.blocks[block].settings.shield && !self.visible(self.blocks[block].parent).is_empty()
    }

    fn is_told(&self, task: usize, block: usize) -> bool {
        let own = self.blocks[block].host == task;
        if own { self.blocks[block].told } else { self.tasks[task].base_told }
    }

    fn tell(&mut self, task: usize, told: bool) {
        for block in self.visible(self.place(task)) {
            if self.blocks[block].host == task {
                self.blocks[block].told = told;
            } else {
                self.tasks[task].base_told = told;
            }
        }
    }

    fn cleanup(&self, mut block: usize) -> Option<f64> {
        loop {
            let Block { settings, parent, .. } = &self.blocks[block];
            match parent {
                Some(parent) if settings.cleanup.is_none() => block = *parent,
                _ => return settings.cleanup,
            }
        }
    }

    /// From when on a task's awaits are cancelled again: the strictest budget that cancels (R18).
    fn level(&self, task: usize) -> f64 {
        let level = |block: &usize| {
            let cancelled_at = self.blocks[*block].cancelled_at.expect("it is cancelled");
            self.cleanup(*block).map_or(f64::INFINITY, |cleanup| cancelled_at + cleanup)
        };
        self.visible(self.place(task)).iter().map(level).fold(f64::INFINITY, f64::min)
    }

    fn effective_deadline(&self, task: usize) -> f64 {
        let mut at = self.place(task);
        if !self.visible(at).is_empty() {
            return f64::NEG_INFINITY;
        }
        let mut earliest = f64::INFINITY;
        while let Some(block) = at {
            earliest = earliest.min(self.blocks[block].settings.deadline);
            at = if self.blocks[block].settings.shield { None } else { self.blocks[block].parent };
        }
        earliest
    }

    fn is_shielded(&self, task: usize) -> bool {
        let Task { wall, stack, .. } = &self.tasks[task];
        wall.is_some() || stack.iter().any(|block| self.blocks[*block].settings.shield)
    }

    fn honoured(&self, task: usize) -> u32 {
        let task = &self.world.tasks[task];
        task.outside - (task.requests.asked() - task.requests.honoured())
    }

    fn check(&mut self) {
        self.world.audit();
        for task in 0..self.tasks.len() {
            if self.tasks[task].done {
                continue;
            }
            let visible = self.visible(self.place(task));
            assert_eq!(self.world.cancelled(task), !visible.is_empty(), "R12: task {task}");
            let member = self.world.tasks[task].member;
            let deadline = self.world.tree.effective_deadline(member);
            assert_eq!(deadline, self.effective_deadline(task), "R21: task {task}");
            let shielded = self.is_shielded(task);
            assert_eq!(self.world.tree.is_shielded(member), shielded, "R20: task {task}");
            if self.level(task) <= self.world.now {
                assert!(self.world.suspended(task), "R18: the budget of task {task} is spent");
            } else {
                let pending = visible.iter().any(|block| !self.is_told(task, *block));
                assert_eq!(self.world.pending(task), pending, "R12, R18: task {task}");
            }
        }
        for block in self.blocks.iter().filter(|block| !block.left) {
            let Some(id) = block.id else { continue };
            let cancelled = self.world.tree.cause(id).is_some();
            assert_eq!(cancelled, block.cancelled_at.is_some());
        }
    }

    // What happens

    fn settings(&mut self) -> Settings {
        let now = self.world.now;
        let deadlines = [f64::INFINITY, f64::INFINITY, now - 1.0, now + 1.0, now + 3.0];
        let cleanups = [None, None, None, Some(0.0), Some(2.0), Some(f64::INFINITY)];
        Settings {
            deadline: self.random.pick(&deadlines),
            shield: self.random.one_in(4),
            cleanup: self.random.pick(&cleanups),
        }
    }

    fn enter(&mut self, task: usize) {
        if self.tasks[task].stack.len() == DEEP {
            return;
        }
        let settings = self.settings();
        let parent = self.place(task);
        let baseline = self.honoured(task);
        let (id, nursery) = if self.random.one_in(2) {
            let collect = false;
            let nursery = self.world.open(task, settings, collect);
            (self.world.tree.scope(nursery), Some(nursery))
        } else {
            (self.world.enter(task, settings), None)
        };
        let block = self.add_block(Some(id), nursery, parent, task, settings);
        self.blocks[block].baseline = baseline;
        self.tasks[task].stack.push(block);
    }

    fn start(&mut self, block: usize) {
        let Some(nursery) = self.blocks[block].nursery else { return };
        let over = self.blocks[block].body_over && self.blocks[block].children == 0;
        if self.tasks.len() == MANY && !over {
            return;
        }
        let shield = self.random.one_in(4);
        let started = self.world.start(nursery, shield);
        assert_eq!(started.is_none(), over, "R2");
        if started.is_some() {
            self.blocks[block].children += 1;
            self.add_task(Some(block), shield);
        }
    }

    fn outcome(&mut self) -> Outcome<Oops> {
        self.errors += 1;
        match self.random.below(6) {
            0 => Outcome::Failed(Oops(self.errors)),
            1 => Outcome::Cancelled,
            2 if self.random.one_in(3) => Outcome::Bare(Oops(self.errors)),
            _ => Outcome::Done,
        }
    }

    fn note(&mut self, block: usize, outcome: &Outcome<Oops>) {
        let now = self.world.now;
        let block = &mut self.blocks[block];
        if matches!(outcome, Outcome::Failed(_) | Outcome::Bare(_)) {
            block.failed = true;
            block.cancelled_at.get_or_insert(now);
        }
    }

    fn cancel_by_host(&mut self, block: usize) {
        let now = self.world.now;
        let block = &mut self.blocks[block];
        block.by_host |= block.cancelled_at.is_none();
        block.cancelled_at.get_or_insert(now);
    }

    fn end_child(&mut self, task: usize, outcome: Outcome<Oops>) {
        let base = self.tasks[task].base.expect("a child");
        let owed = self.world.tree.charges(self.world.tasks[task].member);
        assert!(owed <= 1, "it owes to what it was started in, once");
        self.note(base, &outcome);
        self.tasks[task].done = true;
        self.blocks[base].children -= 1;
        let closed = self.world.end(task, outcome).is_some();
        let block = &self.blocks[base];
        assert_eq!(closed, block.body_over && block.children == 0, "R1, R3");
    }

    /// A task leaves its innermost block, or ends.
    fn leave(&mut self, task: usize) {
        let Some(&top) = self.tasks[task].stack.last() else {
            if self.tasks[task].base.is_some() {
                let outcome = self.outcome();
                self.end_child(task, outcome);
            }
            return;
        };
        if self.tasks[task].joins {
            if self.blocks[top].children == 0 {
                self.close(task, top, true);
            }
            return;
        }
        let outcome = self.outcome();
        let Some(nursery) = self.blocks[top].nursery else {
            return self.exit(task, top, outcome);
        };
        self.note(top, &outcome);
        self.blocks[top].body_over = true;
        if outcome == Outcome::Cancelled {
            self.blocks[top].body_cancelled = true;
            self.cancel_by_host(top);
        }
        let alone = self.blocks[top].children == 0;
        assert_eq!(self.world.body_ended(nursery, outcome), alone, "R3");
        if alone {
            return self.close(task, top, false);
        }
        self.tasks[task].joins = true;
        let host = &self.world.tasks[task];
        if host.requests.is_waiting() && (host.foreign || !self.is_shielded(task)) {
            self.hold(task, top);
        }
    }

    fn hold(&mut self, task: usize, top: usize) {
        self.blocks[top].held = true;
        self.cancel_by_host(top);
        let nursery = self.blocks[top].nursery.expect("a nursery that is joined");
        assert_eq!(self.world.tree.host(nursery), Some(&task));
        self.world.host_cancelled(nursery);
    }

    fn exit(&mut self, task: usize, top: usize, outcome: Outcome<Oops>) {
        let flight = match outcome {
            Outcome::Done => Flight::Nothing,
            Outcome::Cancelled => Flight::Cancelled,
            _ => Flight::Error,
        };
        let above = self.above(top);
        let outstanding = self.honoured(task) > self.blocks[top].baseline;
        let exit = self.world.exit(task, self.blocks[top].id.expect("a scope"), flight);
        self.pop(task, top);
        if flight == Flight::Cancelled {
            let own = self.blocks[top].cancelled_at.is_some();
            assert_eq!(exit.caught, own && !above && !outstanding, "R13: task {task}");
            if !exit.caught {
                self.tell(task, true);
            }
        }
    }

    fn close(&mut self, task: usize, top: usize, joined: bool) {
        let shielded = self.is_shielded(task);
        let host = &mut self.world.tasks[task];
        let mut held = self.blocks[top].held;
        if joined && host.requests.is_waiting() && (host.foreign || !shielded) {
            host.requests.deliver();
            held = true;
        }
        self.tasks[task].joins = false;
        let above = self.above(top);
        let block = &self.blocks[top];
        let outstanding = self.honoured(task) > block.baseline;
        let own = block.cancelled_at.is_some() && !block.by_host;
        let arrived = block.body_cancelled || held || (joined && above);
        let failed = block.failed;
        let close = self.world.close(task, block.nursery.expect("a nursery"), held, joined);
        self.pop(task, top);
        assert_eq!(close.verdict != Verdict::Clean, failed, "R7");
        let goes_on = !failed && arrived && (outstanding || above || !own);
        assert_eq!(close.cancelled, goes_on, "R13: task {task}");
        assert_eq!(close.rearm, failed && arrived && outstanding, "R13: task {task}");
        if goes_on {
            self.tell(task, true);
        } else if failed && arrived && above {
            self.tell(task, false);
        }
    }

    fn pop(&mut self, task: usize, top: usize) {
        assert_eq!(self.tasks[task].stack.pop(), Some(top));
        self.blocks[top].left = true;
    }

    fn ask(&mut self, task: usize) {
        let foreign = self.world.tasks[task].foreign;
        self.world.ask(task, false);
        if !self.tasks[task].joins {
            return;
        }
        if foreign {
            self.world.tasks[task].requests.deliver();
        }
        if foreign || !self.is_shielded(task) {
            let top = *self.tasks[task].stack.last().expect("a nursery that is joined");
            self.hold(task, top);
        }
    }

    fn step(&mut self, task: usize) {
        if !self.tasks[task].joins && self.world.step(task).scope {
            self.tell(task, true);
        }
    }

    /// Somebody changes a scope that has not been left.
    fn change(&mut self, block: usize) {
        let Some(id) = self.blocks[block].id.filter(|_| !self.blocks[block].left) else { return };
        let now = self.world.now;
        match self.random.below(4) {
            0 => {
                let new = self.blocks[block].cancelled_at.is_none();
                assert_eq!(self.world.cancel(id), new);
                self.blocks[block].cancelled_at.get_or_insert(now);
            }
            1 => {
                let shield = !self.blocks[block].settings.shield;
                self.world.change(|tree, _, out| tree.set_shield(id, shield, out));
                self.blocks[block].settings.shield = shield;
            }
            2 => {
                let deadline = self.settings().deadline;
                self.world.change(|tree, now, out| tree.set_deadline(id, deadline, now, out));
                self.blocks[block].settings.deadline = deadline;
                self.pass(now);
            }
            _ => self.start(block),
        }
    }

    /// It is now `now`: deadlines that have passed cancel.
    fn pass(&mut self, now: f64) {
        for block in self.blocks.iter_mut().filter(|block| !block.left) {
            if block.settings.deadline <= now {
                block.cancelled_at.get_or_insert(now);
            }
        }
    }

    fn go(&mut self) {
        for _ in 0..80 {
            let task = self.random.below(self.tasks.len());
            let choice = self.random.below(12);
            if choice == 0 {
                let now = self.world.now + self.random.below(3) as f64;
                self.world.advance(now);
                self.pass(now);
            } else if choice < 5 && !self.blocks.is_empty() {
                let block = self.random.below(self.blocks.len());
                self.change(block);
            } else if !self.tasks[task].done {
                match choice {
                    5 | 6 if !self.tasks[task].joins => self.enter(task),
                    7 if !self.world.tasks[task].requests.is_waiting() => self.ask(task),
                    8 | 9 => self.step(task),
                    10 => self.leave(task),
                    _ => {}
                }
            }
            self.check();
        }
        // Everybody goes, the youngest first, until all have: nobody waits for ever (R3).
        while self
            .tasks
            .iter()
            .any(|task| !task.stack.is_empty() || (task.base.is_some() && !task.done))
        {
            for task in (0..self.tasks.len())
                .rev()
                .filter(|task| !self.tasks[*task].done)
                .collect::<Vec<_>>()
            {
                self.leave(task);
                self.check();
            }
        }
        for root in 0..2 {
            let Task { joins, ref stack, .. } = self.tasks[root];
            assert!(!joins && stack.is_empty());
            let task = &self.world.tasks[root];
            assert_eq!(self.world.tree.charges(task.member), 0, "every charge is taken back");
            assert_eq!(task.requests.asked(), task.outside, "R14");
            assert!(!self.world.pending(root), "R13");
            self.world.withdraw(root);
        }
        self.world.assert_empty();
    }
}

/// Names the program that failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("random program {} fails", self.0);
        }
    }
}

#[test]
fn r12_to_r21_hold_in_random_programs() {
    let mut cancelled = 0;
    let mut tasks = 0;
    for seed in 1..=16_000 {
        let named = Named(seed);
        let mut program = Program::new(named.0);
        program.go();
        cancelled += program.blocks.iter().filter(|block| block.cancelled_at.is_some()).count();
        tasks += program.tasks.len();
    }
    assert!(tasks > 50_000 && cancelled > 50_000, "{tasks} tasks, {cancelled} cancelled blocks");
}
