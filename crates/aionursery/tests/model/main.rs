//! R1, R3, R6, R7, R11 to R13, R16, R17, R19, R21, R28 over random programs on a paused clock: nested
//! nurseries, scopes, shields, deadlines, children of both kinds, cancellation from everywhere. What
//! happens, and in which order, is what a plain model says.

mod model;
mod program;
mod real;
mod state;

use std::collections::BTreeMap;

use proptest::prelude::*;

use program::{Event, programs};

/// What happened in each moment in which something did, in no order.
type History = Vec<Vec<Event>>;

/// Of nurseries that have had spawned children: when each of their errors came. Those of one moment are of
/// several tasks of the runtime's, which run in no order.
type Open = BTreeMap<usize, BTreeMap<usize, u64>>;

/// Errors that came in one moment, where their order is open, by their numbers.
fn settle(history: &mut History, open: &Open) {
    for event in history.iter_mut().flatten() {
        if let Event::Nursery(id, Some((errors, _))) = event
            && let Some(moments) = open.get(id)
        {
            let at = |error: &usize| moments.get(error);
            errors.chunk_by_mut(|a, b| at(a) == at(b)).for_each(<[usize]>::sort);
        }
    }
}

/// Puts together what happened in the same moment. A child that was cancelled in the moment in which
/// it was started may have had its first step, or not.
fn history<Moment: PartialEq>(log: impl IntoIterator<Item = (Moment, Event)>) -> History {
    let mut history: Vec<(Moment, Vec<Event>)> = Vec::new();
    for (moment, event) in log {
        match history.last_mut() {
            Some((last, events)) if *last == moment => events.push(event),
            _ => history.push((moment, vec![event])),
        }
    }
    let moment = |(_, mut events): (Moment, Vec<Event>)| {
        let began = |events: &[Event], id| events.contains(&Event::Began(id));
        let brief: Vec<usize> = events
            .iter()
            .filter_map(|event| match event {
                Event::Dropped(id) if began(&events, *id) => Some(*id),
                _ => None,
            })
            .collect();
        events.retain(|event| match event {
            Event::Began(id) | Event::Dropped(id) => !brief.contains(id),
            _ => true,
        });
        events.sort();
        events
    };
    history.into_iter().map(moment).filter(|events| !events.is_empty()).collect()
}

/// Some seconds' worth, others each time; `PROPTEST_CASES` says how many instead.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(5000),
        max_global_rejects: u32::MAX,
        failure_persistence: None,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn r1_to_r28_a_program_does_what_the_model_says(program in programs()) {
        let Some((mut expected, open)) = model::run(&program) else {
            return Err(TestCaseError::reject("two things happen at nearly the same time"));
        };
        let mut history = real::run(&program);
        settle(&mut history, &open);
        settle(&mut expected, &open);
        prop_assert_eq!(history, expected);
    }
}
