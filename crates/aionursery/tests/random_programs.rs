//! R1, R3, R6, R7, R16, R17, R19 over random programs, against a plain model: every child ends
//! exactly once, none outlives the block, every error is there once and in order, and what is
//! shielded runs to its end.

use std::cell::RefCell;
use std::rc::Rc;

use aionursery::{Builder, End, LocalNursery, OnError, yield_now};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Program {
    turns: usize,
    end: Ends,
    shield: bool,
    by_hand: bool,
    children: Vec<Program>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    Returns,
    Fails,
    Cancels,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Started(usize),
    Returned(usize),
    Failed(usize),
    Dropped(usize),
}

fn program() -> impl Strategy<Value = Program> {
    let ends =
        prop_oneof![4 => Just(Ends::Returns), 1 => Just(Ends::Fails), 1 => Just(Ends::Cancels)];
    let leaf = (0..5_usize, ends, prop::bool::weighted(0.2), prop::bool::weighted(0.1)).prop_map(
        |(turns, end, shield, by_hand)| Program { turns, end, shield, by_hand, children: vec![] },
    );
    leaf.prop_recursive(3, 24, 4, |inner| {
        (inner.clone(), prop::collection::vec(inner, 0..4))
            .prop_map(|(program, children)| Program { children, ..program })
    })
}

struct Log(RefCell<Vec<Event>>, RefCell<Vec<bool>>);

/// Says that a child was dropped, unless it has said how it ended.
struct Watch(Rc<Log>, usize, bool);

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.2 {
            self.0.0.borrow_mut().push(Event::Dropped(self.1));
        }
    }
}

fn start(n: &LocalNursery<'static, usize>, log: &Rc<Log>, program: Program) {
    let id = log.1.borrow().len();
    log.1.borrow_mut().push(program.shield);
    let watch = Watch(log.clone(), id, false);
    let (sibling, log, by_hand) = (n.clone(), log.clone(), program.by_hand);
    let handle = if program.shield { n.shielded() } else { n.clone() };
    let child = handle.start_soon(async move {
        let mut watch = watch;
        log.0.borrow_mut().push(Event::Started(id));
        for child in program.children {
            start(&sibling, &log, child);
        }
        for _ in 0..program.turns {
            yield_now().await;
        }
        if program.end == Ends::Cancels {
            sibling.cancel();
        }
        watch.2 = true;
        let fails = program.end == Ends::Fails;
        let event = if fails { Event::Failed(id) } else { Event::Returned(id) };
        log.0.borrow_mut().push(event);
        if fails { Err(id) } else { Ok(()) }
    });
    if by_hand {
        child.cancel();
        n.shielded().start_soon(async move {
            assert_eq!(child.end().await, End::Cancelled);
            Ok(())
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_child_ends_once_and_every_error_is_reported_once(
        programs in prop::collection::vec(program(), 0..5),
        body_turns in 0..6_usize,
        collect in any::<bool>(),
    ) {
        let log = Rc::new(Log(RefCell::default(), RefCell::default()));
        let inner = log.clone();
        let on_error = if collect { OnError::Collect } else { OnError::Cancel };
        let ended = futures::executor::block_on(Builder::new().on_error(on_error).nursery_local(
            async move |n: LocalNursery<'static, usize>| {
                for program in programs {
                    start(&n, &inner, program);
                }
                for _ in 0..body_turns {
                    yield_now().await;
                }
                Ok(())
            },
        ));
        let (events, shields) = (log.0.borrow(), log.1.borrow());
        let ends = |id: usize| events.iter().filter(|event| match event {
            Event::Started(_) => false,
            Event::Returned(other) | Event::Failed(other) | Event::Dropped(other) => *other == id,
        }).count();
        for id in 0..shields.len() {
            // R3: gone, exactly once, when the block has ended.
            prop_assert_eq!(ends(id), 1, "child {}", id);
        }
        // R7: what failed, in the order in which it failed.
        let failed: Vec<usize> = events.iter().filter_map(|event| match event {
            Event::Failed(id) => Some(*id),
            _ => None,
        }).collect();
        let reported: Vec<usize> = match &ended {
            Ok(()) => Vec::new(),
            Err(errors) => errors.errors().copied().collect(),
        };
        prop_assert_eq!(&reported, &failed);
        // R6: after the first failure nothing but what is shielded takes a step.
        if !collect
            && let Some(first) = events.iter().position(|event| matches!(event, Event::Failed(_)))
        {
            for event in &events[first + 1..] {
                if let Event::Started(id) | Event::Returned(id) | Event::Failed(id) = event {
                    prop_assert!(shields[*id], "child {} went on after the failure", id);
                }
            }
        }
    }
}
