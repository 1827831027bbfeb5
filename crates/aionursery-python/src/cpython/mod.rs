//! CPython as this crate uses it: references, calls, exceptions, and what asyncio is asked for. It must
//! never know of a loop, a task of ours or a scope.

#![expect(unsafe_code, reason = "what is safe outside of here is made safe here")]

pub mod args;
pub mod call;
pub mod class;
pub mod containers;
pub mod direct;
pub mod errors;
pub mod function;
pub mod futures;
pub mod generator;
pub mod guard;
pub mod imports;
pub mod object;
pub mod plain;
pub mod raised;
pub mod safe_calls;
pub mod shutdown;
pub mod thread;
pub mod trash;
