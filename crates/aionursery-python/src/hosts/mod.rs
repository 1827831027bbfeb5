//! The tasks that enter scopes and nurseries: ours, and those that are not. It must never decide what
//! a cancellation means.

mod dispatch;
pub(crate) mod foreign;
pub(crate) mod host;

pub(crate) use crate::task::find_member;
pub(crate) use dispatch::{deliver, member_of};
