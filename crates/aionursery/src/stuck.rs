//! The warning for what was cancelled and does not end (R18). It calls the hook once, with the
//! nursery's tree as it is then; it must never cancel anything again.

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use crate::clock::{Sleep, nanoseconds};
use crate::coop::poll_freely;
use crate::dump::Dump;
use crate::ignore_panics::ignore_panics;
use crate::scope::Scope;

type Hook = Arc<dyn Fn(&Dump) + Send + Sync>;

/// What is called, and after what time.
#[derive(Clone)]
pub(crate) struct Rule {
    pub(crate) after: Duration,
    pub(crate) hook: Hook,
}

opaque!("Rule", [] Rule, |rule| { after: rule.after });

/// One nursery's watch for it, from the turn on in which it finds itself cancelled.
pub(crate) struct Watch {
    /// `None` once the hook was called.
    rule: Option<Rule>,
    sleep: Option<Sleep>,
}

impl Watch {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule: Some(rule), sleep: None }
    }

    /// Called at the end of a turn in which the nursery has not closed.
    pub(crate) fn poll(&mut self, scope: &Scope, cx: &mut Context<'_>) {
        let Some(rule) = self.rule.as_ref().filter(|_| scope.is_soft()) else { return };
        let sleep = self.sleep.get_or_insert_with(|| {
            let clock = scope.clock();
            let moment = clock.moment(clock.now() + nanoseconds(rule.after));
            moment.map_or_else(
                || Box::pin(std::future::pending()) as Sleep,
                |at| clock.sleep_until(at),
            )
        });
        if poll_freely(sleep.as_mut(), cx).is_pending() {
            return;
        }
        let hook = rule.hook.clone();
        *self = Self { rule: None, sleep: None };
        let dump = scope.dump();
        // A hook that panics must not bring down what is cleaning up.
        ignore_panics(|| hook(&dump));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(sleep) = self.sleep.take() {
            ignore_panics(|| drop(sleep));
        }
    }
}
