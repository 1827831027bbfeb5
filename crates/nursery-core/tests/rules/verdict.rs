//! One nursery's life without a tree: what each end means and what it raises.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::rc::Rc;

use nursery_core::{Closed, Ended, ErrorKind, Identity, Lifecycle, Outcome, Phase, Role, Verdict};

use crate::world::Oops;

fn running(children: usize, collect: bool) -> Lifecycle<Oops> {
    let mut life = Lifecycle::new(collect);
    for _ in 0..children {
        life.child_started().expect("it is open");
    }
    life
}

#[test]
fn r6_only_the_first_failure_asks_for_the_siblings_to_be_cancelled() {
    let mut life = running(3, false);
    assert_eq!(
        life.child_ended(Outcome::Cancelled),
        Ended { cancel: false, closed: false, again: None }
    );
    assert_eq!(
        life.child_ended(Outcome::Failed(Oops(1))),
        Ended { cancel: true, closed: false, again: None }
    );
    assert_eq!(
        life.child_ended(Outcome::Bare(Oops(2))),
        Ended { cancel: false, closed: false, again: None }
    );
    assert_eq!(
        life.body_ended(Outcome::Cancelled),
        Ended { cancel: false, closed: true, again: None }
    );
}

#[test]
fn r6_collected_failures_ask_for_nothing_but_what_leaves_bare_does() {
    let mut life = running(3, true);
    assert!(!life.child_ended(Outcome::Failed(Oops(1))).cancel);
    assert!(life.child_ended(Outcome::Bare(Oops(2))).cancel, "R9: at once after the join");
    assert!(!life.child_ended(Outcome::Bare(Oops(3))).cancel);
    assert!(life.body_ended(Outcome::Done).closed);
    let beside = vec![Oops(1), Oops(3)];
    assert_eq!(life.verdict(), Verdict::Bare { error: Oops(2), beside });
}

#[test]
fn r7_each_object_is_one_error_however_many_there_are() {
    let mut life = running(200, false);
    // Every error comes three times; number 0 has no identity, and each of it is its own.
    for round in 0..3 {
        for error in 0..60 {
            life.child_ended(Outcome::Failed(Oops(error)));
        }
        let before = life.errors().filter(|error| error.0 == 0).count();
        assert_eq!(before, round + 1);
    }
    life.error(Outcome::Failed(Oops(59)));
    life.error(Outcome::Failed(Oops(60)));
    for _ in 0..20 {
        life.child_ended(Outcome::Done);
    }
    life.body_ended(Outcome::Failed(Oops(30)));
    let expected = (0..60).chain([0, 0, 60]).map(Oops).collect();
    assert_eq!(life.verdict(), Verdict::Errors(expected));
}

#[test]
fn r3_many_children_start_and_return_at_once_as_they_do_one_by_one() {
    let mut life = running(2, false);
    life.children_started(40).expect("it is open");
    life.children_done(41);
    assert_eq!((life.running(), life.phase()), (1, Phase::Open));
    assert!(!life.body_ended(Outcome::Done).closed);
    life.children_done(1);
    assert_eq!(life.phase(), Phase::Closed);
    assert_eq!(life.children_started(1), Err(Closed));
    assert_eq!(life.running(), 0, "what was refused is not counted");
}

#[test]
fn r2_a_closed_nursery_takes_no_child_and_stays_closed() {
    let mut life = running(1, false);
    assert_eq!(life.phase(), Phase::Open);
    assert!(!life.body_ended(Outcome::Done).closed);
    assert_eq!(life.phase(), Phase::Joining);
    assert_eq!(life.child_started(), Ok(()), "R2: it takes children while it joins");
    life.child_ended(Outcome::Done);
    assert!(life.child_ended(Outcome::Done).closed);
    assert_eq!(life.child_started(), Err(Closed));
    assert_eq!((life.phase(), life.running()), (Phase::Closed, 0));
}

#[test]
fn r7_what_closes_a_body_leaves_bare_if_it_is_the_only_error() {
    for collect in [false, true] {
        let mut life = running(1, collect);
        let ended = life.body_ended(Outcome::Alone(Oops(1)));
        assert_eq!(ended, Ended { cancel: true, closed: false, again: None });
        assert!(life.child_ended(Outcome::Cancelled).closed);
        assert_eq!(life.verdict(), Verdict::Bare { error: Oops(1), beside: Vec::new() });
    }
}

#[test]
fn r7_what_closes_a_body_stands_in_the_group_beside_others_in_its_order() {
    let mut life = running(3, false);
    life.child_ended(Outcome::Failed(Oops(1)));
    life.body_ended(Outcome::Alone(Oops(2)));
    life.child_ended(Outcome::Failed(Oops(3)));
    life.child_ended(Outcome::Done);
    assert_eq!(life.verdict(), Verdict::Errors(vec![Oops(1), Oops(2), Oops(3)]));
}

#[test]
fn r9_what_ends_the_program_leaves_bare_before_what_closes_a_body() {
    let mut life = running(1, false);
    life.body_ended(Outcome::Alone(Oops(1)));
    life.child_ended(Outcome::Bare(Oops(2)));
    assert_eq!(life.verdict(), Verdict::Bare { error: Oops(2), beside: vec![Oops(1)] });
}

#[test]
fn r7_an_error_that_was_there_is_handed_back() {
    let mut life = running(2, false);
    assert_eq!(life.child_ended(Outcome::Failed(Oops(1))).again, None);
    assert_eq!(life.child_ended(Outcome::Bare(Oops(1))).again, Some(Oops(1)));
    assert_eq!(life.error(Outcome::Failed(Oops(1))).again, Some(Oops(1)));
    assert_eq!(life.body_ended(Outcome::Alone(Oops(1))).again, Some(Oops(1)));
    assert_eq!(life.verdict(), Verdict::Errors(vec![Oops(1)]), "as what it was the first time");
}

#[test]
fn r3_what_another_nursery_joins_hands_its_errors_over_once() {
    let mut life = running(2, true);
    life.child_ended(Outcome::Failed(Oops(1)));
    life.child_ended(Outcome::Bare(Oops(2)));
    life.body_ended(Outcome::Alone(Oops(3)));
    let ordinary = [Outcome::Bare(Oops(2)), Outcome::Failed(Oops(1)), Outcome::Failed(Oops(3))];
    assert_eq!(life.outcomes(), ordinary);
    assert_eq!((life.outcomes(), life.verdict()), (Vec::new(), Verdict::Clean));
}

#[test]
fn r7_and_r9_say_of_each_kind_of_exception_how_it_ends_a_body_and_a_child() {
    for role in [Role::Body, Role::Misplaced, Role::Child] {
        let ended = |kind| Outcome::raised(kind, role, Oops(1));
        // Nothing keeps what brought a cancellation: it is the caller's.
        assert_eq!(ended(ErrorKind::Cancellation), (Outcome::Cancelled, Some(Oops(1))));
        assert_eq!(ended(ErrorKind::Exit), (Outcome::Bare(Oops(1)), None));
        assert_eq!(ended(ErrorKind::Error), (Outcome::Failed(Oops(1)), None));
    }
    let closes = |role| Outcome::raised(ErrorKind::Close, role, Oops(1)).0;
    assert_eq!(closes(Role::Body), Outcome::Alone(Oops(1)));
    assert_eq!(closes(Role::Child), Outcome::Failed(Oops(1)), "an ordinary error");
    assert_eq!(closes(Role::Misplaced), Outcome::Cancelled, "the misuse is raised instead");
}

#[test]
fn r6_an_adopted_error_leaves_the_first_failure_to_cancel_the_siblings() {
    let mut life = running(2, false);
    assert_eq!(life.adopted(Outcome::Failed(Oops(1))), None);
    assert_eq!(life.adopted(Outcome::Failed(Oops(1))), Some(Oops(1)), "R7: once");
    assert!(life.child_ended(Outcome::Failed(Oops(2))).cancel);
    life.child_ended(Outcome::Cancelled);
    life.body_ended(Outcome::Cancelled);
    assert_eq!(life.verdict(), Verdict::Errors(vec![Oops(1), Oops(2)]));
}

/// An error that its owner may take away, and how often it was asked whether that is so.
struct Shared {
    number: usize,
    taken: Rc<Cell<bool>>,
    asked: Rc<Cell<usize>>,
}

impl Identity for Shared {
    fn identity(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.number)
    }

    fn is_spent(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.taken.get()
    }
}

const MANY: usize = 10_000;

/// Lets this many children fail. Each error is taken at once, except those that stay. Returns the nursery, the most
/// errors that it has kept, and how often these were asked.
fn with_taken(stays: impl Fn(usize) -> bool) -> (Lifecycle<Shared>, usize, usize) {
    let mut life = Lifecycle::new(true);
    let (asked, mut most) = (Rc::new(Cell::new(0)), 0);
    for number in 1..=MANY {
        life.child_started().expect("it is open");
        let taken = Rc::new(Cell::new(false));
        let error = Shared { number, taken: taken.clone(), asked: asked.clone() };
        assert!(life.child_ended(Outcome::Failed(error)).again.is_none());
        taken.set(!stays(number));
        most = most.max(life.errors().count());
    }
    (life, most, asked.get())
}

fn left(life: &mut Lifecycle<Shared>) -> Vec<usize> {
    let errors = life.verdict().into_errors().into_iter();
    errors.filter(|error| !error.taken.get()).map(|error| error.number).collect()
}

#[test]
fn r5_errors_that_were_taken_go_and_the_others_stay_in_their_order() {
    let stays = |number: usize| number.is_multiple_of(1000);
    let (mut life, most, _) = with_taken(stays);
    assert!(most <= 64, "{most}");
    assert_eq!(left(&mut life), (1..=MANY).filter(|number| stays(*number)).collect::<Vec<_>>());
}

#[test]
fn r5_each_error_is_looked_at_a_few_times_however_many_stay() {
    for one_in in [1, 2, 3, MANY] {
        let stays = |number: usize| number.is_multiple_of(one_in);
        let (mut life, most, asked) = with_taken(stays);
        assert!(most <= 2 * MANY / one_in + 64 && asked <= 4 * MANY, "{one_in}: {most}, {asked}");
        assert_eq!(left(&mut life).len(), MANY / one_in);
    }
}

#[test]
fn r7_an_error_at_the_place_of_one_that_has_gone_is_another() {
    let (mut life, ..) = with_taken(|number| number == 1);
    let mut again = |number| {
        let (taken, asked) = Default::default();
        life.error(Outcome::Failed(Shared { number, taken, asked })).again.is_some()
    };
    assert!(again(1) && !again(2) && again(2));
}
