//! CPython as this crate uses it: references, calls, exceptions, and what asyncio is asked for. It must
//! never know of a loop, a task of ours or a scope.

pub mod args;
pub mod errors;
pub mod function;
pub mod futures;
pub mod generator;
pub mod guard;
pub mod imports;
pub mod object;
pub mod raised;
pub mod shutdown;
pub mod thread;
pub mod trash;
