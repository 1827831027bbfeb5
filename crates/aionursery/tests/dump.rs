//! The dump of the live tree: what it shows of nurseries, scopes and children, and when.

use std::future::pending;
use std::time::Duration;

use aionursery::{
    Builder, CancelScope,
    dump::{Dump, Node, NodeKind, State, dump, record_children},
    error::Source,
    fail_after, nursery_local, yield_now,
};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::executor::block_on;

/// The dump without places, which change with every line that is added above.
fn text(dump: &Dump) -> String {
    let mut text = dump.to_string();
    while let Some(start) = text.find(" (crates") {
        let end = start + text[start..].find(')').unwrap() + 1;
        text.replace_range(start..end, "");
    }
    text
}

fn find<'a>(dump: &'a Dump, name: &str) -> Option<&'a Node> {
    dump.iter().map(|(_, node)| node).find(|node| node.name() == Some(name))
}

#[test]
fn a_dump_shows_what_is_below_each_child_and_where_it_was_opened() {
    let (leave, stays) = oneshot::channel::<()>();
    let shown = block_on(Builder::new().name("kitchen").nursery_local(async |n| {
        n.named("cook").start_soon(async {
            let pot = Builder::new().name("pot").nursery_local(async |pot| {
                pot.named("beans").start_soon(pending::<Result<(), ()>>());
                pending::<Result<(), ()>>().await
            });
            pot.await.map_err(drop)
        });
        n.named("guest").shielded().start_soon(async {
            let _ = CancelScope::new().run(stays).await;
            Ok(())
        });
        n.start_soon(pending::<Result<(), ()>>());
        n.named("late").start_soon(pending::<Result<(), ()>>());
        let before = n.dump();
        let cook = find(&before, "cook").unwrap();
        assert_eq!((cook.state(), cook.children().len()), (State::Waiting, 0));
        let place = cook.location().unwrap();
        assert!(place.file().ends_with("dump.rs"));
        yield_now().await;
        let after = n.dump();
        let guest = find(&after, "guest").unwrap();
        assert!(guest.is_shielded() && guest.children()[0].kind() == NodeKind::Scope);
        n.cancel();
        leave.send(()).unwrap();
        Ok(text(&after))
    }));
    let expected = "\
nursery \"kitchen\", running
├─ child 1 \"cook\", running
│  └─ nursery \"pot\", running
│     └─ child 1 \"beans\", running
├─ child 2 \"guest\", running, shielded
│  └─ scope, running
├─ child 4 \"late\", running
└─ 1 child without a name";
    assert_eq!(shown.unwrap(), expected);
}

#[test]
fn r11_a_dump_says_what_is_cancelled_and_why() {
    block_on(nursery_local(async |n| {
        let (leave, stays) = oneshot::channel::<()>();
        n.named("shielded").shielded().start_soon(async {
            let inner = nursery_local(async |inner| {
                inner.cancel_with("the beans are burnt");
                let inner = inner.dump();
                assert_eq!(inner.roots()[0].cause().unwrap().source(), Source::Explicit);
                Ok::<_, ()>(())
            });
            inner.await.unwrap();
            let _ = stays.await;
            Ok::<_, ()>(())
        });
        yield_now().await;
        let other = n.clone();
        let _ = CancelScope::shield()
            .run(async move {
                other.cancel_with("closing time");
                let dump = other.dump();
                let root = &dump.roots()[0];
                assert_eq!(root.cause().unwrap().reason(), Some("closing time"));
                assert!(root.is_cancelled() && root.cancelled_for().is_some());
                let shielded = find(&dump, "shielded").unwrap();
                assert!(shielded.is_shielded() && !shielded.is_cancelled());
                let text = dump.to_string();
                assert!(text.contains("s ago (by request: closing time)"), "{text}");
                leave.send(()).unwrap();
            })
            .await;
        Ok(())
    }))
    .unwrap();
}

#[test]
fn what_is_over_is_not_in_the_dump_of_the_program() {
    let mut kept = None;
    block_on(Builder::new().name("over soon").nursery_local(async |n| {
        kept = Some(n.clone());
        assert!(find(&dump(), "over soon").is_some());
        Ok::<_, ()>(())
    }))
    .unwrap();
    assert!(find(&dump(), "over soon").is_none());
    assert!(kept.unwrap().dump().roots().is_empty());
    let mut dropped = Box::pin(
        Builder::new()
            .name("dropped soon")
            .nursery_local(async |_| pending::<Result<(), ()>>().await),
    );
    assert!((&mut dropped).now_or_never().is_none());
    assert!(find(&dump(), "dropped soon").is_some());
    drop(dropped);
    assert!(find(&dump(), "dropped soon").is_none());
    // A scope in which a nursery was opened whose handle is kept.
    let mut kept = None;
    let around = Builder::new().name("around").nursery_local(async |_| {
        let inside = nursery_local(async |n| {
            kept = Some(n.clone());
            Ok::<_, ()>(())
        });
        fail_after(Duration::from_secs(60), inside).await.unwrap().unwrap();
        assert!(find(&dump(), "around").unwrap().children().is_empty());
        Ok::<_, ()>(())
    });
    block_on(around).unwrap();
}

#[test]
fn a_dump_may_be_made_while_another_thread_opens_and_closes_nurseries() {
    std::thread::scope(|threads| {
        let other = threads.spawn(|| {
            for _ in 0..100_000 {
                block_on(nursery_local(async |_| Ok::<_, ()>(()))).unwrap();
            }
        });
        while !other.is_finished() {
            drop(dump());
        }
    });
}

#[test]
fn a_dump_shows_scopes_that_were_not_asked_for_yet() {
    let inside = block_on(Builder::new().name("kitchen").nursery_local(async |n| {
        CancelScope::shield().run(async { Ok::<_, ()>(text(&n.dump())) }).await.unwrap()
    }));
    assert_eq!(inside.unwrap(), "nursery \"kitchen\", running\n└─ scope, running, shielded");
    let line = line!() + 1;
    let outermost = CancelScope::new().run(async { dump() });
    let dump = block_on(outermost).unwrap();
    let mut lines = dump.roots().iter().map(|root| root.location().unwrap().line());
    assert!(lines.any(|at| at == line));
}

#[test]
fn a_child_that_waits_for_a_place_has_not_started() {
    block_on(Builder::new().limit(1).nursery_local(async |n| {
        for name in ["first", "second"] {
            n.named(name).start_soon(pending::<Result<(), ()>>());
        }
        yield_now().await;
        let dump = n.dump();
        let states = ["first", "second"].map(|name| find(&dump, name).unwrap().state());
        assert_eq!(states, [State::Running, State::Waiting]);
        n.cancel();
        Ok(())
    }))
    .unwrap();
}

#[test]
fn the_nodes_come_from_the_top_down_with_their_depth() {
    block_on(Builder::new().name("a").nursery_local(async |a| {
        a.named("b").start_soon(async {
            Builder::new()
                .name("c")
                .nursery_local(async |_| pending::<Result<(), ()>>().await)
                .await
                .map_err(drop)
        });
        a.named("d").start_soon(pending::<Result<(), ()>>());
        yield_now().await;
        let dump = a.dump();
        let nodes: Vec<_> = dump.iter().map(|(depth, node)| (depth, node.name())).collect();
        assert_eq!(nodes, [(0, Some("a")), (1, Some("b")), (2, Some("c")), (1, Some("d"))]);
        assert_eq!(dump.roots()[0].running(), 2);
        a.cancel();
        Ok(())
    }))
    .unwrap();
}

#[test]
fn what_the_body_of_an_inner_nursery_opens_is_not_taken_for_its_childs() {
    block_on(nursery_local(async |n| {
        n.named("outer child").start_soon(async {
            Builder::new()
                .name("inner")
                .nursery_local(async |_| {
                    let _ = CancelScope::new().run(pending::<()>()).await;
                    Ok::<(), ()>(())
                })
                .await
                .map_err(drop)
        });
        yield_now().await;
        let dump = n.dump();
        let inner = find(&dump, "inner").unwrap();
        assert_eq!(inner.children()[0].kind(), NodeKind::Scope);
        assert_eq!(find(&dump, "outer child").unwrap().children().len(), 1);
        n.cancel();
        Ok(())
    }))
    .unwrap();
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn spawned_and_blocking_children_are_shown_too_also_after_a_drop() {
    use aionursery::nursery;
    use std::time::Duration;
    let (release, held) = std::sync::mpsc::channel::<()>();
    nursery(async |outer| {
        let mut inner = Box::pin(Builder::new().name("inner").nursery(async |n| {
            n.named("spawned").spawn(pending::<Result<(), ()>>());
            let blocking = n.named("blocking").shielded();
            blocking.spawn_blocking(move || held.recv().map_err(drop));
            let scope = CancelScope::new();
            let hour = tokio::time::Instant::now() + Duration::from_secs(3600);
            scope.deadline(hour).run(pending::<()>()).await.map_err(drop)
        }));
        assert!((&mut inner).now_or_never().is_none());
        tokio::task::yield_now().await;
        let shown = outer.dump();
        let spawned = find(&shown, "spawned").unwrap();
        assert_eq!((spawned.kind(), spawned.state()), (NodeKind::Spawned, State::Running));
        assert_eq!(find(&shown, "blocking").unwrap().kind(), NodeKind::Blocking);
        let inner_node = find(&shown, "inner").unwrap();
        let scope = inner_node.children().last().unwrap();
        assert_eq!(scope.deadline_in(), Some(Duration::from_secs(3600)));
        assert!(scope.to_string().ends_with(", 3600.0 s left"));
        drop(inner);
        let shown = outer.dump();
        assert_eq!(find(&shown, "inner").unwrap().state(), State::Dropped);
        release.send(()).unwrap();
        Ok::<_, ()>(())
    })
    .await
    .unwrap();
}

/// Switches it on for good: the other tests of this file do not mind.
mod recorded {
    use super::*;

    #[test]
    fn once_recorded_children_without_a_name_are_shown() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "recorded::in_a_process_of_its_own"])
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
    }

    #[test]
    #[ignore = "run by the test above, since it changes the whole process"]
    fn in_a_process_of_its_own() {
        record_children();
        block_on(nursery_local(async |n| {
            n.start_soon(pending::<Result<(), ()>>());
            n.shielded().start_soon(async { Ok(()) });
            let shown = text(&n.dump());
            let expected = "\
nursery, running
├─ child 1, waiting to start
└─ child 2, waiting to start, shielded";
            assert_eq!(shown, expected);
            n.cancel();
            Ok(())
        }))
        .unwrap();
    }
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_tree_that_is_deeper_than_a_stack_is_shown_cancelled_and_left() {
    use aionursery::{Nursery, nursery};
    const LEVELS: usize = if cfg!(miri) { 100 } else { 20_000 };
    type Level = std::pin::Pin<Box<dyn Future<Output = Result<(), ()>> + Send>>;
    fn level(left: usize, bottom: oneshot::Sender<Nursery<'static, ()>>) -> Level {
        Box::pin(async move {
            let ended = nursery(async move |n: Nursery<'static, ()>| {
                match left {
                    0 => drop(bottom.send(n)),
                    _ => drop(n.spawn(level(left - 1, bottom))),
                }
                pending().await
            });
            ended.await.map_err(drop)
        })
    }
    let (send, bottom) = oneshot::channel();
    let mut last = None;
    nursery(async |n: Nursery<'static, ()>| {
        n.spawn(level(LEVELS, send));
        last = bottom.await.ok();
        let deepest = n.dump().iter().map(|(depth, _)| depth).max();
        assert_eq!(deepest, Some(LEVELS + 1));
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
    // It was all that held the scopes above it.
    drop(last);
}

#[test]
fn a_dump_of_very_many_named_children_does_not_print_for_ever() {
    // Steps by the square of these would take minutes.
    const MANY: usize = if cfg!(miri) { 100 } else { 200_000 };
    let shown = block_on(nursery_local(async |n| {
        for _ in 0..MANY {
            n.named("one").start_soon(pending::<Result<(), ()>>());
        }
        n.start_soon(pending::<Result<(), ()>>());
        yield_now().await;
        let dump = n.dump();
        n.cancel();
        Ok(dump)
    }));
    let (tell, hear) = std::sync::mpsc::channel();
    let dump = shown.unwrap();
    std::thread::spawn(move || tell.send(dump.to_string()));
    let text = hear.recv_timeout(std::time::Duration::from_secs(60)).expect("it is printed");
    assert_eq!(text.matches("\n├─ child ").count(), MANY);
    assert!(text.ends_with("\n└─ 1 child without a name"));
}
