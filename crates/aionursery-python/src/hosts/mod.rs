//! The tasks that enter scopes and nurseries: ours, and those that are not. It must never decide what
//! a cancellation means.

pub mod foreign;
pub mod host;
