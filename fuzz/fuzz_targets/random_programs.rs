//! The random programs of the core's tests, with the fuzzer's bytes as their choices: it looks for the
//! choices that reach new code, where a seed draws blindly.

#![no_main]

use libfuzzer_sys::fuzz_target;
use random_programs::{Program, Random};

#[allow(dead_code, reason = "a part of the tests, which use more of it")]
#[path = "../../crates/nursery-core/tests/rules/random_programs.rs"]
mod random_programs;
#[allow(dead_code, reason = "a part of the tests, which use more of it")]
#[path = "../../crates/nursery-core/tests/rules/world.rs"]
mod world;

fuzz_target!(|bytes: Vec<u8>| {
    // A byte for each choice; zeros behind the last.
    let mut bytes = bytes.into_iter();
    let choose = move |bound| usize::from(bytes.next().unwrap_or(0)) % bound;
    Program::new(Random(Box::new(choose))).go();
});
