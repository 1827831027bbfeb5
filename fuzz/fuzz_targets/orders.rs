//! One order of events of a program of up to four blocks, checked as the exhaustive tests check theirs
//! after each event. The tests walk every order of small programs; these are larger ones.

#![no_main]

use libfuzzer_sys::fuzz_target;
use program::{How, Plan, Spec, State};

#[allow(dead_code, reason = "a part of the tests, which use more of it")]
#[path = "../../crates/nursery-core/tests/rules/program.rs"]
mod program;
#[allow(dead_code, reason = "a part of the tests, which use more of it")]
#[path = "../../crates/nursery-core/tests/rules/world.rs"]
mod world;

/// The most blocks, and the most children of each.
const BLOCKS: usize = 4;
const CHILDREN: usize = 6;

/// A byte for each choice; zeros behind the last.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % bound
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn spec(&mut self) -> Spec {
        let children = self.below(CHILDREN + 2).checked_sub(1);
        Spec {
            children,
            shielded: self.below(CHILDREN),
            shield: self.flag(),
            collect: self.flag(),
            cancels: self.flag(),
        }
    }

    fn plan(&mut self) -> Plan {
        let blocks = self.below(BLOCKS) + 1;
        Plan {
            blocks: (0..blocks).map(|_| self.spec()).collect(),
            child: vec![How::Done, How::Failed, How::Cancelled, How::Bare],
            body: vec![How::Done, How::Failed, How::Cancelled, How::Bare, How::Same, How::Alone],
            asks: self.below(3),
            foreign: self.flag(),
            heard_before: self.flag(),
            waits_before: self.flag(),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes.iter());
    let plan = choices.plan();
    let mut state = State::new(&plan);
    while !state.is_over() {
        let moves = state.moves(&plan);
        assert!(!moves.is_empty(), "nothing can happen any more: a task waits for ever");
        let next = moves[choices.below(moves.len())];
        state.make(&plan, next);
        state.check();
    }
});
