//! Every order of events of small programs. Orders that lead to one state share what comes after,
//! so that all are walked though few states are visited; the smallest programs are walked without
//! that, step by step, to show that it hides nothing.

use std::collections::HashMap;

use crate::program::How::{Alone, Bare, Cancelled, Done, Failed, Same};
use crate::program::{Move, Plan, SCOPE, Spec, State, nursery};

struct Walk<'a> {
    plan: &'a Plan,
    /// How many orders lead on from a state.
    seen: Option<HashMap<Vec<u8>, u128>>,
    trace: Vec<Move>,
}

/// Names the order that led to a failure.
impl Drop for Walk<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}\nfails after {:?}", self.plan, self.trace);
        }
    }
}

impl Walk<'_> {
    fn orders(&mut self, state: &State) -> u128 {
        if state.is_over() {
            return 1;
        }
        if let Some(orders) = self.seen.as_ref().and_then(|seen| seen.get(&state.key())) {
            return *orders;
        }
        let mut orders = 0;
        for next in state.moves(self.plan) {
            let mut after = state.clone();
            self.trace.push(next);
            after.make(self.plan, next);
            after.check();
            orders += self.orders(&after);
            self.trace.pop();
        }
        assert!(orders > 0, "nothing can happen any more: a task waits for ever");
        if let Some(seen) = &mut self.seen {
            seen.insert(state.key(), orders);
        }
        orders
    }
}

/// How many orders of events a program has; each of them keeps the rules.
fn orders(plan: &Plan, share: bool) -> u128 {
    let seen = share.then(HashMap::new);
    let mut walk = Walk { plan, seen, trace: Vec::new() };
    walk.orders(&State::new(plan))
}

fn plan(blocks: &[Spec]) -> Plan {
    Plan {
        blocks: blocks.to_vec(),
        child: vec![Done, Failed, Cancelled, Bare],
        body: vec![Done, Failed, Cancelled, Bare, Same, Alone],
        asks: 1,
        foreign: false,
        heard_before: false,
        waits_before: false,
    }
}

const SHIELD: Spec = Spec { shield: true, ..SCOPE };

#[test]
fn r1_to_r17_hold_in_every_order_of_a_nursery_of_four() {
    let mut plan = plan(&[SCOPE, nursery(4)]);
    plan.child = vec![Done, Failed, Cancelled];
    plan.body = vec![Done, Failed, Cancelled, Bare];
    assert!(orders(&plan, true) > 1_000_000_000_000);
}

#[test]
fn r1_to_r17_hold_in_every_order_of_a_nursery_of_three_with_every_end() {
    assert!(orders(&plan(&[SCOPE, nursery(3)]), true) > 10_000_000_000);
}

#[test]
fn r1_to_r17_hold_in_every_order_with_a_foreign_host() {
    let mut plan = plan(&[SCOPE, nursery(2)]);
    plan.asks = 2;
    plan.foreign = true;
    assert!(orders(&plan, true) > 1_000_000_000);
}

#[test]
fn r13_and_r14_hold_in_every_order_if_the_host_is_cancelled_twice() {
    let mut plan = plan(&[SCOPE, nursery(2)]);
    plan.asks = 2;
    assert!(orders(&plan, true) > 1_000_000_000);
}

#[test]
fn r13_and_r14_hold_in_every_order_if_the_host_was_cancelled_before() {
    for (heard, waits) in [(true, false), (false, true), (true, true)] {
        let mut plan = plan(&[SCOPE, nursery(2)]);
        plan.heard_before = heard;
        plan.waits_before = waits;
        assert!(orders(&plan, true) > 10_000_000);
    }
}

#[test]
fn r19_shielded_children_are_waited_for_in_every_order() {
    let plan = plan(&[SCOPE, Spec { shielded: 2, ..nursery(3) }]);
    assert!(orders(&plan, true) > 10_000_000);
}

#[test]
fn r6_collected_failures_leave_the_siblings_alone_in_every_order() {
    let plan = plan(&[SCOPE, Spec { collect: true, ..nursery(3) }]);
    assert!(orders(&plan, true) > 10_000_000);
}

#[test]
fn r19_a_shielded_nursery_keeps_the_outer_cancellation_out_in_every_order() {
    let mut plan = plan(&[SCOPE, Spec { shield: true, ..nursery(2) }]);
    for foreign in [false, true] {
        plan.foreign = foreign;
        assert!(orders(&plan, true) > 10_000_000);
    }
}

#[test]
fn r12_and_r13_hold_in_every_order_of_a_nursery_in_a_nursery() {
    let mut plan = plan(&[SCOPE, nursery(1), nursery(1)]);
    plan.child = vec![Done, Failed, Cancelled];
    plan.body = vec![Done, Failed, Cancelled];
    for foreign in [false, true] {
        plan.foreign = foreign;
        assert!(orders(&plan, true) > 1_000_000_000);
    }
}

#[test]
fn r12_and_r13_hold_in_every_order_with_a_shield_between_two_nurseries() {
    let mut plan = plan(&[SCOPE, nursery(1), SHIELD, nursery(1)]);
    plan.child = vec![Done, Failed, Cancelled];
    plan.body = vec![Done, Failed, Cancelled];
    for foreign in [false, true] {
        plan.foreign = foreign;
        assert!(orders(&plan, true) > 1_000_000_000);
    }
}

#[test]
fn what_orders_share_hides_nothing() {
    let mut plan = plan(&[SCOPE, nursery(1)]);
    plan.child = vec![Done, Failed];
    plan.body = vec![Done, Failed, Cancelled];
    let walked = orders(&plan, false);
    assert!(walked > 50_000);
    assert_eq!(walked, orders(&plan, true));
}
