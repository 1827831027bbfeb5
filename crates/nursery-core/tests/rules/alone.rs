//! One child that is cancelled: in a scope that is put around it while it runs, or by hand in a
//! nursery that takes that for a failure.

use nursery_core::{Flight, Outcome, Verdict};

use crate::world::{Oops, PLAIN, World, finish};

#[test]
fn r12_a_child_that_was_enclosed_is_cancelled_alone_and_its_siblings_go_on() {
    for entered in [false, true] {
        let mut world = World::new();
        let host = world.enroll(false);
        let nursery = world.open(host, PLAIN, false);
        let [child, sibling] = [(); 2].map(|()| world.start(nursery, false).unwrap());
        let inner = entered.then(|| world.enter(child, PLAIN));
        let own = world.tree.enclose(world.tasks[child].member);
        assert!(!world.cancelled(child), "it is not cancelled by that");
        world.cancel(own);
        assert!(world.pending(child) && !world.cancelled(sibling) && !world.cancelled(host));
        world.step(child);
        if let Some(inner) = inner {
            assert!(!world.exit(child, inner, Flight::Cancelled).caught, "it is not that scope's");
        }
        assert_eq!(world.end(child, Outcome::Cancelled), None);
        assert_eq!(world.tree.size().0, 1, "its scope has gone with it");
        assert!(!world.cancelled(sibling));
        world.end(sibling, Outcome::Done);
        assert!(world.body_ended(nursery, Outcome::Done));
        let close = world.close(host, nursery, false);
        assert!(matches!(close.verdict, Verdict::Clean) && !close.cancelled);
        finish(world, host);
    }
}

#[test]
fn r19_a_shield_inside_keeps_the_cancellation_of_an_enclosed_child_out() {
    let mut world = World::new();
    let host = world.enroll(false);
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, true).unwrap();
    let own = world.tree.enclose(world.tasks[child].member);
    world.cancel(own);
    assert!(!world.cancelled(child));
    world.end(child, Outcome::Done);
    assert!(world.body_ended(nursery, Outcome::Done));
    world.close(host, nursery, false);
    finish(world, host);
}

#[test]
fn a_child_that_is_enclosed_where_all_is_cancelled_stays_cancelled() {
    let mut world = World::new();
    let host = world.enroll(false);
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    world.cancel(world.tree.scope(nursery));
    world.tree.enclose(world.tasks[child].member);
    assert!(world.cancelled(child) && world.pending(child));
    world.step(child);
    world.end(child, Outcome::Cancelled);
    world.body_ended(nursery, Outcome::Done);
    assert!(world.close(host, nursery, false).exit.caught);
    finish(world, host);
}

#[test]
fn r16_a_child_cancelled_by_hand_cancels_a_strict_nursery_and_no_other() {
    for strict in [false, true] {
        let mut world = World::new();
        let host = world.enroll(false);
        let nursery = world.open(host, PLAIN, false);
        if strict {
            world.tree.be_strict(nursery);
        }
        let [child, sibling] = [(); 2].map(|()| world.start(nursery, false).unwrap());
        world.ask(child, false);
        assert!(world.step(child).outside);
        assert_eq!(world.end(child, Outcome::Cancelled), None);
        assert_eq!(world.pending(sibling), strict);
        let end = if strict { Outcome::Cancelled } else { Outcome::Done };
        world.step(sibling);
        world.end(sibling, end);
        assert!(world.body_ended(nursery, Outcome::Done));
        assert!(matches!(world.close(host, nursery, false).verdict, Verdict::Clean));
        finish(world, host);
    }
}

#[test]
fn r9_no_error_leaves_a_strict_nursery_bare() {
    for strict in [false, true] {
        let mut world = World::new();
        let host = world.enroll(false);
        let nursery = world.open(host, PLAIN, false);
        if strict {
            world.tree.be_strict(nursery);
        }
        let [one, other] = [(); 2].map(|()| world.start(nursery, false).unwrap());
        world.end(one, Outcome::Failed(Oops(1)));
        world.step(other);
        world.end(other, Outcome::Bare(Oops(2)));
        world.body_ended(nursery, Outcome::Done);
        let verdict = world.close(host, nursery, false).verdict;
        let bare = Verdict::Bare { error: Oops(2), beside: vec![Oops(1)] };
        let together = Verdict::Errors(vec![Oops(2), Oops(1)]);
        assert_eq!(verdict, if strict { together } else { bare });
        finish(world, host);
    }
}
