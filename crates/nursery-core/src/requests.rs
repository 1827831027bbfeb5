//! One task's own count of cancellations, as `asyncio.Task` keeps it since 3.13, on every version.
//! It knows no scopes and must never decide where a cancellation is delivered.

/// How many cancellations were asked of a task and whether one waits for its next step.
///
/// ```
/// use nursery_core::Requests;
/// let mut requests = Requests::default();
/// requests.ask();
/// requests.wait();
/// assert!(requests.is_waiting());
/// assert_eq!(requests.take_back(), 0);
/// assert!(!requests.is_waiting());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    asked: u32,
    waiting: u32,
}

impl Requests {
    /// `Task.cancel()`: one more request. Call [`wait`](Self::wait) if it cannot be handed on
    /// to what the task waits for.
    #[inline]
    pub fn ask(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    /// The request could not be handed on: it waits for the next step.
    #[inline]
    pub fn wait(&mut self) {
        self.waiting = self.waiting.saturating_add(1);
    }

    /// `Task.uncancel()`: one request is taken back. When none is left, one that has not been
    /// delivered yet is not delivered either (cpython#117407; 3.11 and 3.12 delivered it still).
    #[inline]
    pub fn take_back(&mut self) -> u32 {
        self.asked = self.asked.saturating_sub(1);
        if self.asked == 0 {
            self.waiting = 0;
        }
        self.asked
    }

    /// `Task.cancelling()`.
    #[inline]
    #[must_use]
    pub fn asked(&self) -> u32 {
        self.asked
    }

    /// Whether a cancellation waits for the next step.
    #[inline]
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Requests that were already honoured by a `CancelledError`, or that were handed on.
    /// What a scope compares at its exit with what it saw at its entry: a cancellation that was
    /// there but had not acted yet counts as one that comes from outside (cpython#134471).
    #[inline]
    #[must_use]
    pub fn honoured(&self) -> u32 {
        self.asked.saturating_sub(self.waiting)
    }

    /// The step delivers one of them, and the others wait on: they wait for the end of a shield.
    #[inline]
    pub(crate) fn deliver_one(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// The step delivers: one `CancelledError` stands for all that waited.
    #[inline]
    pub fn deliver(&mut self) {
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r14_taking_back_the_last_request_takes_back_its_delivery() {
        let mut requests = Requests::default();
        requests.ask();
        requests.wait();
        assert!(requests.is_waiting());
        assert_eq!(requests.take_back(), 0);
        assert!(!requests.is_waiting());
    }

    #[test]
    fn r14_taking_back_one_of_two_leaves_the_delivery() {
        let mut requests = Requests::default();
        for _ in 0..2 {
            requests.ask();
            requests.wait();
        }
        assert_eq!(requests.take_back(), 1);
        assert!(requests.is_waiting());
        requests.deliver();
        assert_eq!((requests.asked(), requests.is_waiting()), (1, false));
    }

    #[test]
    fn r20_what_is_asked_inside_a_shield_does_not_take_along_what_waits_for_its_end() {
        let mut requests = Requests::default();
        for _ in 0..2 {
            requests.ask();
            requests.wait();
        }
        requests.deliver_one();
        assert_eq!((requests.honoured(), requests.is_waiting()), (1, true));
        requests.take_back();
        assert!(requests.is_waiting());
    }

    #[test]
    fn r13_what_waits_is_not_honoured_yet() {
        let mut requests = Requests::default();
        requests.ask();
        assert_eq!(requests.honoured(), 1);
        requests.ask();
        requests.wait();
        assert_eq!(requests.honoured(), 1);
        requests.deliver();
        assert_eq!(requests.honoured(), 2);
    }
}
