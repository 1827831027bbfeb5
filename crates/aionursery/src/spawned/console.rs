//! Names of spawned children on a tokio that was built to show its tasks, for tokio-console. It must never
//! change what runs.

use super::child::SpawnedTask;

/// Has a child carried in a task with its name.
#[cfg(all(feature = "tracing", tokio_unstable, not(aionursery_loom)))]
#[track_caller]
pub(super) fn send(name: Option<&str>, task: SpawnedTask) {
    let Some(name) = name else { return super::carrier::send(task) };
    let spawned = tokio::task::Builder::new().name(name).spawn(super::carrier::alone(task));
    drop(spawned.expect("tokio's builder fails only without a runtime, and then it panics"));
}

#[cfg(any(not(feature = "tracing"), not(tokio_unstable), aionursery_loom))]
#[track_caller]
pub(super) fn send(_: Option<&str>, task: SpawnedTask) {
    super::carrier::send(task);
}

/// Runs a function with its name on a thread for blocking work.
#[cfg(all(feature = "tracing", tokio_unstable, not(aionursery_loom)))]
#[track_caller]
pub(super) fn spawn_blocking(name: Option<&str>, function: impl FnOnce() + Send + 'static) {
    let Some(name) = name else { return drop(crate::sync::spawn_blocking(function)) };
    let spawned = tokio::task::Builder::new().name(name).spawn_blocking(function);
    drop(spawned.unwrap_or_else(|error| panic!("no thread for blocking work: {error}")));
}

#[cfg(any(not(feature = "tracing"), not(tokio_unstable), aionursery_loom))]
#[track_caller]
pub(super) fn spawn_blocking(_: Option<&str>, function: impl FnOnce() + Send + 'static) {
    drop(crate::sync::spawn_blocking(function));
}
