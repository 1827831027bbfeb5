//! The peer's own tests of this name, on our facade.
include!(concat!(env!("OUT_DIR"), "/sync_cancellation_token.rs"));
