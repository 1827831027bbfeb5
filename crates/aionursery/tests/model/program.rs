//! A random program: code that sleeps, fails, cancels, starts children and opens scopes and
//! nurseries. Whatever waits does so for a time of its own, so that no two things happen at once
//! but by cause and effect.

use proptest::prelude::*;

/// A step, with a number of its own.
#[derive(Clone, Debug)]
pub struct Step {
    pub id: usize,
    pub act: Act,
}

#[derive(Clone, Debug)]
pub enum Act {
    /// For this many milliseconds.
    Sleep(u64),
    /// The code ends with the step's number as its error.
    Fail,
    /// Cancels the nearest nursery, then sleeps.
    Cancel(u64),
    /// Starts a child in the nearest nursery.
    Start(Child),
    Scope {
        shield: bool,
        deadline: Option<u64>,
        code: Vec<Step>,
    },
    Nursery(Nursery),
}

#[derive(Clone, Debug)]
pub struct Child {
    pub spawned: bool,
    pub shield: bool,
    /// It sleeps for so long before its code.
    pub delay: u64,
    /// A sibling cancels it through its handle after so long.
    pub by_hand: Option<u64>,
    pub code: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Nursery {
    pub shield: bool,
    pub collect: bool,
    pub deadline: Option<u64>,
    /// The task that awaits it fails if it does.
    pub passes_on: bool,
    pub code: Vec<Step>,
}

/// What can be seen of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A child took its first step.
    Began(usize),
    Slept(usize),
    /// How a child ended.
    Returned(usize),
    Failed(usize),
    Dropped(usize),
    /// The code behind a scope runs; whether it ended by itself.
    Scope(usize, bool),
    /// The code behind a nursery runs: its errors in order, how many it has adopted, if it gave no
    /// value.
    Nursery(usize, Option<(Vec<usize>, usize)>),
}

/// The outermost nursery.
pub fn programs() -> impl Strategy<Value = Nursery> {
    nursery(code(4)).prop_map(|mut program| {
        program.shield = false;
        number(&mut program.code, &mut 1);
        program
    })
}

fn time() -> std::ops::Range<u64> {
    100..100_000_000
}

fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.25)
}

fn nursery(code: impl Strategy<Value = Vec<Step>>) -> impl Strategy<Value = Nursery> {
    (rarely(), rarely(), prop::option::weighted(0.3, time()), any::<bool>(), code).prop_map(
        |(shield, collect, deadline, passes_on, code)| Nursery {
            shield,
            collect,
            deadline,
            passes_on,
            code,
        },
    )
}

fn code(depth: u32) -> BoxedStrategy<Vec<Step>> {
    let leaf = prop_oneof![
        6 => time().prop_map(Act::Sleep),
        1 => Just(Act::Fail),
        1 => time().prop_map(Act::Cancel),
    ];
    let act = if depth == 0 {
        leaf.boxed()
    } else {
        let child =
            (any::<bool>(), rarely(), time(), prop::option::weighted(0.2, time()), code(depth - 1))
                .prop_map(|(spawned, shield, delay, by_hand, code)| {
                    Act::Start(Child { spawned, shield, delay, by_hand, code })
                });
        let scope = (any::<bool>(), prop::option::weighted(0.6, time()), code(depth - 1))
            .prop_map(|(shield, deadline, code)| Act::Scope { shield, deadline, code });
        prop_oneof![
            3 => leaf,
            4 => child,
            2 => scope,
            2 => nursery(code(depth - 1)).prop_map(Act::Nursery),
        ]
        .boxed()
    };
    prop::collection::vec(act.prop_map(|act| Step { id: 0, act }), 0..5).boxed()
}

fn number(code: &mut [Step], next: &mut usize) {
    for step in code {
        step.id = *next;
        *next += 1;
        match &mut step.act {
            Act::Start(Child { code, .. })
            | Act::Scope { code, .. }
            | Act::Nursery(Nursery { code, .. }) => number(code, next),
            Act::Sleep(_) | Act::Fail | Act::Cancel(_) => {}
        }
    }
}
