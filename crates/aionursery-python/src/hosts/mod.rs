//! The tasks that enter scopes and nurseries: ours, and those that are not. It must never decide what
//! a cancellation means.

mod dispatch;
pub mod foreign;
pub mod host;

pub use dispatch::{deliver, find_member, member_of};
