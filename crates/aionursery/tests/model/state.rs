//! What the model knows, and what can be asked of it. What happens is in `model.rs`.

use std::collections::VecDeque;

use crate::Open;
use crate::program::{Event, Step};

pub struct Scope {
    pub parent: Option<usize>,
    pub shield: bool,
    pub cancelled: bool,
    pub deadline: Option<u64>,
    /// A task stands in it.
    pub open: bool,
    /// What this nursery stands in is dropped when it has ended (R27a).
    pub along: bool,
}

pub struct Block {
    pub id: usize,
    pub scope: usize,
    pub collect: bool,
    pub passes_on: bool,
    pub host: usize,
    pub value: bool,
    /// A cancellation has ended its body or a child.
    pub cut: bool,
    pub errors: Vec<usize>,
    /// When each of these came.
    pub moments: Vec<u64>,
    pub adopted: usize,
    pub over: bool,
    pub dropped: bool,
    /// It has had spawned children, or errors.
    pub known: bool,
}

pub struct Task {
    pub id: Option<usize>,
    /// The outermost one has none.
    pub nursery: Option<usize>,
    pub spawned: bool,
    pub shield: bool,
    pub began: bool,
    pub ended: bool,
    /// Cancelled by hand, or left behind by its nursery.
    pub asked: bool,
    pub stack: Vec<Part>,
    pub wakes: Option<u64>,
    pub delay: u64,
    /// What is said when it wakes.
    pub sleeps: Option<usize>,
}

pub struct Part {
    pub kind: Kind,
    pub scope: usize,
    pub code: VecDeque<Order>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Task,
    Scope(usize),
    /// A nursery's body.
    Body(usize),
    /// The body has ended.
    Joining(usize),
    /// It was cancelled from outside: nothing comes of it any more.
    Gone,
}

pub enum Order {
    Step(Step),
    /// Cancels a task by hand.
    Stop(usize),
}

#[derive(Default)]
pub struct Model {
    pub now: u64,
    pub scopes: Vec<Scope>,
    pub blocks: Vec<Block>,
    pub tasks: Vec<Task>,
    pub log: Vec<(u64, Event)>,
    pub open: Open,
}

impl Model {
    pub fn say(&mut self, event: Event) {
        self.log.push((self.now, event));
    }

    /// Whether cancellation reaches a scope: its own, or one from above up to the next shield (R12).
    pub fn reached(&self, scope: usize) -> bool {
        let at = &self.scopes[scope];
        at.cancelled || (!at.shield && at.parent.is_some_and(|above| self.reached(above)))
    }

    /// Whether a part of a task is left by what is around: what is reached from outside, or a task that
    /// was cancelled, with neither a shield nor a nursery between.
    pub fn taken_along(&self, task: usize, at: usize) -> bool {
        let scope = &self.scopes[self.tasks[task].stack[at].scope];
        let opens = |part: &Part| match part.kind {
            Kind::Scope(_) | Kind::Gone => !self.scopes[part.scope].shield,
            Kind::Task => true,
            Kind::Body(_) | Kind::Joining(_) => false,
        };
        let ends = || self.is_to_end(task) && self.tasks[task].stack[..at].iter().all(opens);
        let reached = || scope.parent.is_some_and(|above| self.reached(above)) || ends();
        scope.along || (!scope.shield && reached())
    }

    pub fn scope(&mut self, parent: Option<usize>, shield: bool, time: Option<u64>) -> usize {
        let deadline = time.map(|time| self.now + time);
        self.scopes.push(Scope {
            parent,
            shield,
            cancelled: false,
            deadline,
            open: true,
            along: false,
        });
        self.scopes.len() - 1
    }

    /// Whether a shield stands in a part of a task, or above it, or a nursery with spawned children
    /// or errors.
    pub fn held(&self, task: usize, from: usize) -> bool {
        self.tasks[task].stack[from..].iter().any(|part| match part.kind {
            Kind::Scope(_) => self.scopes[part.scope].shield,
            Kind::Body(block) | Kind::Joining(block) => {
                self.blocks[block].known
                    || self.scopes[self.blocks[block].scope].shield
                    || self.children(block).any(|child| {
                        let it = &self.tasks[child];
                        it.began && !it.spawned && (it.shield || self.held(child, 0))
                    })
            }
            Kind::Task | Kind::Gone => false,
        })
    }

    /// Those that have not ended.
    pub fn children(&self, block: usize) -> impl Iterator<Item = usize> {
        (0..self.tasks.len())
            .filter(move |&at| !self.tasks[at].ended && self.tasks[at].nursery == Some(block))
    }

    /// What waits for what a dropped nursery has left, and is told of its errors (R28).
    pub fn heir(&self, block: usize) -> usize {
        let mut at = self.scopes[self.blocks[block].scope].parent;
        while let Some(scope) = at {
            let alive = |it: &Block| it.scope == scope && !it.dropped && !it.over;
            if let Some(found) = self.blocks.iter().position(alive) {
                return found;
            }
            at = self.scopes[scope].parent;
        }
        unreachable!("the outermost nursery is there to the end")
    }

    /// The moments at which something happens by itself.
    pub fn moments(&self) -> impl Iterator<Item = u64> {
        let wakes = self.tasks.iter().filter(|task| !task.ended).filter_map(|task| task.wakes);
        let deadlines = (0..self.scopes.len())
            .filter(|&at| self.scopes[at].open && !self.reached(at))
            .filter_map(|at| self.scopes[at].deadline);
        wakes.chain(deadlines)
    }

    pub fn is_to_end(&self, task: usize) -> bool {
        let it = &self.tasks[task];
        it.asked
            || (!it.shield
                && it.nursery.is_some_and(|block| self.reached(self.blocks[block].scope)))
    }

    pub fn is_done(&self, block: usize) -> bool {
        let it = &self.blocks[block];
        let joins = self.tasks[it.host].stack.last().map(|part| part.kind);
        let adopted = |task: &Task| {
            let left = task.nursery.filter(|&left| self.blocks[left].dropped);
            !task.ended && left.is_some_and(|left| self.heir(left) == block)
        };
        !it.over
            && !it.dropped
            && joins == Some(Kind::Joining(block))
            && self.children(block).next().is_none()
            && !self.tasks.iter().any(adopted)
    }

    /// Nothing runs in what is cancelled already.
    pub fn entered(&self, scope: usize, kind: Kind) -> Kind {
        if self.reached(scope) { Kind::Gone } else { kind }
    }

    /// Whose handle a task's code has.
    pub fn nearest(&self, task: usize) -> usize {
        let it = &self.tasks[task];
        let body = it.stack.iter().rev().find_map(|part| match part.kind {
            Kind::Body(block) => Some(block),
            _ => None,
        });
        body.or(it.nursery).expect("all code is in a nursery")
    }
}
