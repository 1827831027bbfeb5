//! CPython as this crate uses it: references, calls, exceptions, and what asyncio is asked for. It must
//! never know of a loop, a task of ours or a scope.

#![expect(unsafe_code, reason = "what is safe outside of here is made safe here")]

pub(crate) mod args;
pub(crate) mod call;
pub(crate) mod called;
pub(crate) mod class;
pub(crate) mod containers;
mod definitions;
pub(crate) mod direct;
pub(crate) mod dying;
pub(crate) mod errors;
mod flagged;
pub(crate) mod for_pyo3;
pub(crate) mod function;
pub(crate) mod futures;
pub(crate) mod generator;
pub(crate) mod guard;
pub(crate) mod imports;
pub(crate) mod myself;
pub(crate) mod object;
pub(crate) mod owned;
pub(crate) mod plain;
pub(crate) mod raised;
pub(crate) mod safe_calls;
pub(crate) mod shutdown;
pub(crate) mod slot;
pub(crate) mod slots;
pub(crate) mod thread;
pub(crate) mod trash;
