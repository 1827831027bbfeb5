//! The feature `tracing`: which spans there are, under which parents, and when they are entered.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex};

use aionursery::{Builder, nursery, yield_now};
use futures::FutureExt;
use futures::executor::block_on;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A span as it was opened: what it is, its name, and what it stands below.
#[derive(Clone, Debug, Default, PartialEq)]
struct Span {
    what: String,
    name: Option<String>,
    parent: Option<u64>,
    entered: usize,
    closed: bool,
}

/// Keeps every span and event; a thread's entered spans are its stack.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    spans: HashMap<u64, Span>,
    entered: Vec<u64>,
    events: Vec<(Option<u64>, String)>,
}

#[derive(Default)]
struct Fields(HashMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_string());
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let seen = &mut *self.0.lock().unwrap();
        let id = seen.spans.len() as u64 + 1;
        let parent = match span.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if span.is_contextual() => seen.entered.last().copied(),
            None => None,
        };
        let what = span.metadata().name().to_string();
        let name = fields.0.remove("name").or_else(|| fields.0.remove("task.name"));
        seen.spans.insert(id, Span { what, name, parent, ..Span::default() });
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let seen = &mut *self.0.lock().unwrap();
        let at = seen.entered.last().copied();
        let mut fields: Vec<_> = fields.0.into_values().collect();
        fields.sort();
        seen.events.push((at, fields.join(" | ")));
    }

    fn enter(&self, span: &Id) {
        let seen = &mut *self.0.lock().unwrap();
        seen.entered.push(span.into_u64());
        seen.spans.get_mut(&span.into_u64()).unwrap().entered += 1;
    }

    fn exit(&self, span: &Id) {
        let seen = &mut *self.0.lock().unwrap();
        assert_eq!(seen.entered.pop(), Some(span.into_u64()));
    }

    fn try_close(&self, span: Id) -> bool {
        self.0.lock().unwrap().spans.get_mut(&span.into_u64()).unwrap().closed = true;
        true
    }
}

impl Recorder {
    /// Runs a program on this thread with all that it says recorded.
    fn of(program: impl FnOnce()) -> Self {
        let recorder = Self::default();
        tracing::subscriber::with_default(recorder.clone(), program);
        recorder
    }

    fn named(&self, name: &str) -> (u64, Span) {
        let seen = self.0.lock().unwrap();
        let mut spans = seen.spans.iter().filter(|(_, span)| span.name.as_deref() == Some(name));
        let (id, span) = spans.next().unwrap_or_else(|| panic!("there is no span {name:?}"));
        assert!(spans.next().is_none(), "there is one span {name:?}");
        (*id, span.clone())
    }

    fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().spans.values().filter(|span| span.what == what).count()
    }

    fn events(&self) -> Vec<(Option<u64>, String)> {
        self.0.lock().unwrap().events.clone()
    }
}

#[test]
fn a_nursery_and_its_named_children_have_spans_one_below_the_other() {
    let recorder = Recorder::of(|| {
        block_on(Builder::new().name("kitchen").nursery_local(async |n| {
            n.named("cook").start_soon(async {
                let pot = Builder::new().name("pot").nursery_local(async |pot| {
                    pot.named("beans").start_soon(async { Ok::<_, ()>(()) }).value().await;
                    Ok(())
                });
                pot.await.map_err(drop)
            });
            for _ in 0..10 {
                n.start_soon(async { Ok(()) });
            }
            Ok::<_, ()>(())
        }))
        .unwrap();
    });
    let (kitchen, span) = recorder.named("kitchen");
    assert_eq!((span.what.as_str(), span.parent), ("nursery", None));
    let (cook, span) = recorder.named("cook");
    assert_eq!((span.what.as_str(), span.parent), ("child", Some(kitchen)));
    let (pot, span) = recorder.named("pot");
    assert_eq!((span.what.as_str(), span.parent), ("nursery", Some(cook)));
    let (_, span) = recorder.named("beans");
    assert_eq!((span.what.as_str(), span.parent), ("child", Some(pot)));
    // Those without a name have none.
    assert_eq!((recorder.count("nursery"), recorder.count("child")), (2, 2));
}

#[test]
fn what_a_child_says_stands_in_its_span_at_each_of_its_steps() {
    let recorder = Recorder::of(|| {
        block_on(nursery(async |n| {
            for name in ["one", "two"] {
                n.named(name).start_soon(async move {
                    tracing::info!(step = 1, "{name}");
                    yield_now().await;
                    tracing::info!(step = 2, "{name}");
                    Ok::<_, ()>(())
                });
            }
            tracing::info!("body");
            Ok(())
        }))
        .unwrap();
    });
    let (one, span_one) = recorder.named("one");
    let (two, _) = recorder.named("two");
    assert_eq!((span_one.entered, span_one.closed), (2, true));
    let at = |text: &str| {
        let events = recorder.events();
        let of = events.iter().filter(|(_, said)| said.contains(text));
        of.map(|(at, _)| at.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((at("one"), at("two")), (vec![one, one], vec![two, two]));
    assert_eq!(at("body"), [span_one.parent.unwrap()]);
}

#[test]
fn a_cancelled_child_closes_its_span() {
    let recorder = Recorder::of(|| {
        block_on(nursery(async |n| {
            n.named("stuck").start_soon(pending::<Result<(), ()>>());
            yield_now().await;
            n.cancel();
            Ok(())
        }))
        .unwrap();
    });
    assert!(recorder.named("stuck").1.closed);
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_spawned_child_has_its_span_below_its_nurserys() {
    let recorder = Recorder::default();
    let _default = tracing::subscriber::set_default(recorder.clone());
    Builder::new()
        .name("kitchen")
        .nursery(async |n| {
            n.named("away").spawn(async { Ok::<_, ()>(()) }).value().await;
            Ok(())
        })
        .await
        .unwrap();
    let (kitchen, _) = recorder.named("kitchen");
    let seen = recorder.0.lock().unwrap();
    let mut children = seen.spans.values().filter(|span| span.what == "child");
    let away = children.next().unwrap();
    assert_eq!((away.name.as_deref(), away.parent), (Some("away"), Some(kitchen)));
    assert!(away.entered > 0 && children.next().is_none());
}

/// Tokio's own span of a task is what tokio-console reads; there is one with the child's name
/// where tokio was built for it.
#[cfg(all(feature = "tokio", tokio_unstable))]
#[tokio::test]
async fn a_spawned_child_has_its_name_in_tokio_console() {
    let names = |recorder: &Recorder| {
        let seen = recorder.0.lock().unwrap();
        let tasks = seen.spans.values().filter(|span| span.what == "runtime.spawn");
        tasks.map(|span| span.name.clone().unwrap_or_default()).collect::<Vec<_>>()
    };
    let recorder = Recorder::default();
    let _default = tracing::subscriber::set_default(recorder.clone());
    nursery(async |n| {
        n.named("away").spawn(async { Ok::<_, ()>(()) }).await?;
        n.named("blocking").spawn_blocking(|| Ok(())).await?;
        n.spawn_blocking(|| Ok(())).await?;
        n.spawn(async { Ok(()) }).await
    })
    .await
    .unwrap();
    let names = names(&recorder);
    for name in ["away", "blocking"] {
        assert_eq!(names.iter().filter(|it| it.contains(name)).count(), 1, "{name}: {names:?}");
    }
}

#[test]
fn r7_a_lost_error_is_an_event() {
    let recorder = Recorder::of(|| {
        let block = nursery(async |n| {
            n.shielded().start_soon(pending::<Result<(), String>>());
            Err::<(), _>(String::from("no beans"))
        });
        assert!(block.now_or_never().is_none());
    });
    let events = recorder.events();
    let [(_, said)] = &events[..] else { panic!("one event: {events:?}") };
    assert!(said.contains("body of a nursery that was dropped: an error of the type"));
}
