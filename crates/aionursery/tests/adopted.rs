//! R7, R28: no error is lost when a nursery is dropped before it could give it back.

use std::any::Any;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Once};

use aionursery::{
    Builder, ChildError, ErrorKind, MultiError, Nursery, OnError,
    error::{AdoptedError, LostError, NotStarted, on_lost_error},
    nursery, nursery_local, yield_now,
};
use futures::FutureExt;
use tokio::sync::Notify;

/// What came to the program's hook, for all tests of this file; each looks for its own words.
static LOST: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn record_lost_errors() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        on_lost_error(|error: LostError| {
            LOST.lock().unwrap().push(error.to_string());
            if error.name() == Some("a hook that panics") {
                panic!("the hook");
            }
        });
    });
}

fn lost(words: &str) -> Vec<String> {
    let lost = LOST.lock().unwrap();
    lost.iter().filter(|text| text.contains(words)).cloned().collect()
}

fn adopted<E>(error: &MultiError<E>) -> Vec<String> {
    error.adopted().map(AdoptedError::to_string).collect()
}

/// Polls a future once and drops it.
fn poll_and_drop<T>(future: impl Future<Output = T>) {
    assert!(future.now_or_never().is_none());
}

#[derive(Debug, PartialEq)]
struct NoWords(u32);

#[tokio::test]
async fn r28_the_error_of_an_adopted_child_comes_back_from_the_adopting_nursery_whatever_its_type()
{
    let error = nursery(async |_: Nursery<'_, &str>| {
        poll_and_drop(nursery(async |n| {
            n.named("seven").shielded().spawn(async { Err::<(), _>(NoWords(7)) });
            pending::<Result<(), _>>().await
        }));
        Ok("the value of the body")
    })
    .await
    .unwrap_err();
    assert_eq!((error.len(), error.errors().count()), (1, 0));
    let text = error.to_string();
    assert!(text.contains("child \"seven\" of a nursery that was dropped: an error of the type"));
    let error = error.into_iter().next().unwrap();
    assert_eq!((error.id(), error.name()), (1, Some("seven")));
    let ErrorKind::Adopted(error) = error.into_kind() else { panic!("it is adopted") };
    assert!(error.is::<NoWords>() && error.type_name().ends_with("NoWords"));
    let error = error.downcast::<String>().unwrap_err();
    assert_eq!(error.downcast::<NoWords>().unwrap(), NoWords(7));
}

#[tokio::test]
async fn r28_errors_of_one_type_can_be_claimed() {
    let error: MultiError<String> = nursery(async |_| {
        poll_and_drop(nursery(async |n| {
            n.shielded().spawn(async { Err::<(), _>(String::from("no beans")) });
            pending::<Result<(), _>>().await
        }));
        poll_and_drop(nursery(async |n| {
            n.shielded().spawn(async { Err::<(), _>(NoWords(1)) });
            pending::<Result<(), _>>().await
        }));
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!((error.len(), error.errors().count()), (2, 0));
    let error = error.claim_adopted();
    assert_eq!(error.errors().collect::<Vec<_>>(), ["no beans"]);
    assert_eq!((error.len(), error.adopted().count()), (2, 1));
}

#[tokio::test]
async fn r7_what_had_failed_before_the_nursery_was_dropped_is_not_lost() {
    let error = nursery(async |_: Nursery<'_, u8>| {
        poll_and_drop(Builder::new().on_error(OnError::Collect).nursery(async |n| {
            n.shielded().spawn(pending::<Result<(), String>>()).cancel();
            n.shielded().start_soon(pending::<Result<(), String>>());
            n.start_soon(async { Err::<(), _>("of a child".to_string()) });
            yield_now().await;
            Err::<(), _>("of the body".to_string())
        }));
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(adopted(&error), ["of a child", "of the body"]);
}

#[tokio::test]
async fn r7_an_error_that_may_borrow_is_told_of_by_its_type() {
    struct Borrows<'a>(#[expect(dead_code, reason = "only its type is told")] &'a str);
    let text = String::from("beans");
    let error = nursery(async |_: Nursery<'_, u8>| {
        poll_and_drop(nursery_local(async |n| {
            n.shielded().start_soon(pending::<Result<(), Borrows>>());
            Err::<(), _>(Borrows(&text))
        }));
        Ok(())
    })
    .await
    .unwrap_err();
    let [text] = &adopted(&error)[..] else { panic!("one error: {error}") };
    assert!(text.starts_with("an error of the type `") && text.contains("Borrows"));
    assert_eq!(error[0].id(), 0);
    assert!(!error[0].adopted().unwrap().is::<u8>());
}

#[tokio::test]
async fn r7_an_error_that_was_taken_is_not_reported_again() {
    nursery(async |_: Nursery<'_, u8>| {
        let taken = &std::cell::Cell::new(None);
        poll_and_drop(Builder::new().on_error(OnError::Collect).nursery_local(async |n| {
            n.shielded().spawn(pending::<Result<(), NoWords>>()).cancel();
            taken.set(
                n.start_soon(async { Err::<(), _>(NoWords(3)) })
                    .await
                    .unwrap_err()
                    .into_error()
                    .ok(),
            );
            pending::<Result<(), _>>().await
        }));
        assert_eq!(taken.take(), Some(NoWords(3)));
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn r7_with_no_nursery_above_the_program_is_told() {
    record_lost_errors();
    let done = Arc::new(Notify::new());
    let told = done.clone();
    let block = nursery(async move |n| {
        n.named("nobody above").shielded().spawn(async move {
            told.notified().await;
            Err::<(), _>(std::io::Error::other("the disk is full"))
        });
        pending::<Result<(), _>>().await
    });
    poll_and_drop(block);
    done.notify_one();
    while lost("nobody above").is_empty() {
        tokio::task::yield_now().await;
    }
    let expected = "child \"nobody above\" of a nursery that was dropped: the disk is full";
    assert_eq!(lost("nobody above"), [expected]);
}

#[tokio::test]
async fn r7_a_hook_that_panics_is_still_told_of_the_next_one() {
    record_lost_errors();
    poll_and_drop(Builder::new().on_error(OnError::Collect).nursery(async |n| {
        n.shielded().start_soon(pending::<Result<(), _>>());
        for _ in 0..2 {
            n.named("a hook that panics").start_soon(async { Err::<(), _>(1) });
        }
        Ok(())
    }));
    assert_eq!(lost("a hook that panics").len(), 2);
}

#[tokio::test]
async fn r26_of_several_panics_in_destructors_one_goes_on_and_the_others_are_reported() {
    struct Bomb(&'static str);
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(self.0);
        }
    }
    let error = nursery(async |_: Nursery<'_, u8>| {
        let mut inner = Box::pin(nursery(async |n| {
            for text in ["one", "two", "three"] {
                n.start_soon(async move {
                    let _bomb = Bomb(text);
                    pending::<Result<(), ()>>().await
                });
            }
            pending::<Result<(), ()>>().await
        }));
        assert!((&mut inner).now_or_never().is_none());
        let drop_it = std::panic::AssertUnwindSafe(|| drop(inner));
        let resumed: Box<dyn Any + Send> = std::panic::catch_unwind(drop_it).unwrap_err();
        assert_eq!(resumed.downcast_ref(), Some(&"one"));
        Ok(())
    })
    .await
    .unwrap_err();
    let messages: Vec<_> = error.panics().map(|panic| panic.message()).collect();
    assert_eq!(messages, ["two", "three"]);
}

#[tokio::test]
async fn r28_what_was_adopted_is_passed_on_when_the_adopter_is_dropped_too() {
    let go = Arc::new(Notify::new());
    let error = nursery(async |_: Nursery<'_, u8>| {
        let mut middle = Box::pin(nursery(async |_: Nursery<'_, u16>| {
            poll_and_drop(nursery(async |n| {
                let go = go.clone();
                n.shielded().spawn(async move {
                    go.notified().await;
                    Err::<(), _>(String::from("two levels up"))
                });
                pending::<Result<(), String>>().await
            }));
            pending::<Result<(), u16>>().await
        }));
        assert!((&mut middle).now_or_never().is_none());
        drop(middle);
        go.notify_one();
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(adopted(&error), ["two levels up"]);
}

#[tokio::test]
async fn r7_r24_the_error_of_a_child_whose_starter_has_gone_is_the_nurserys() {
    type Starting = Pin<Box<dyn Future<Output = Result<u16, NotStarted<&'static str>>> + Send>>;
    let starter: Arc<Mutex<Option<Starting>>> = Arc::default();
    let error = nursery(async |n: Nursery<'static, &'static str>| {
        let slot = starter.clone();
        let mut starting: Starting = Box::pin(n.named("server").start(async move |status| {
            yield_now().await;
            let _still = status;
            // What is cancelled while it runs has come to its next await, or to its end.
            let starter = slot.lock().unwrap().take();
            drop(starter);
            Err::<(), _>("the port is taken")
        }));
        assert!((&mut starting).now_or_never().is_none());
        *starter.lock().unwrap() = Some(starting);
        pending::<Result<(), _>>().await
    })
    .await
    .unwrap_err();
    assert_eq!(error.to_string(), "1 error in a nursery\n└─ child \"server\": the port is taken");
}

#[tokio::test]
async fn r7_r24_an_answer_that_was_not_heard_is_the_nurserys_error_too() {
    let error = nursery_local(async |n| {
        let starting = n.start(async |_status: aionursery::TaskStatus<(), &str>| {
            Err::<(), _>("the port is taken")
        });
        yield_now().await;
        drop(starting);
        pending::<Result<(), _>>().await
    })
    .await;
    let error: MultiError<&str> = error.unwrap_err();
    assert_eq!(error.errors().collect::<Vec<_>>(), [&"the port is taken"]);
}

#[test]
fn an_error_with_its_child_can_cross_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<MultiError<String>>();
    check::<ChildError<String>>();
    check::<LostError>();
}

#[test]
fn r28_an_error_that_panics_when_it_is_shown_or_dropped_keeps_no_task_waiting() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "a bomb");
        }
    }
    let ended = futures::executor::block_on(nursery(async |_: Nursery<'_, &str>| {
        let inner =
            Builder::new().on_error(OnError::Collect).nursery(async |n: Nursery<'_, Bomb>| {
                n.start_soon(async { Err::<(), _>(Bomb) });
                n.start_soon(async { Err::<(), _>(Bomb) });
                std::future::pending::<Result<(), Bomb>>().await
            });
        assert!(inner.now_or_never().is_none());
        Ok(())
    }));
    assert_eq!(ended.unwrap_err().panics().count(), 2);
}

#[test]
fn r26_of_several_panics_one_is_resumed_and_the_program_is_told_of_the_others() {
    record_lost_errors();
    let collect = Builder::new().on_error(OnError::Collect);
    let ended = futures::executor::block_on(collect.nursery(async |n: Nursery<'_, &str>| {
        for name in ["resumed", "the second of two panics"] {
            n.named(name).start_soon(async move { if true { panic!("{name}") } else { Ok(()) } });
        }
        Ok(())
    }));
    let error = ended.unwrap_err();
    assert_eq!(error.panics().count(), 2);
    let resumed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| error.resume_panic()));
    assert_eq!(resumed.unwrap_err().downcast_ref(), Some(&"resumed".to_string()));
    let lost = LOST.lock().unwrap();
    assert!(lost.iter().any(|text| text.contains("the second of two panics")));
}

#[tokio::test]
async fn r7_the_errors_of_an_open_nursery_are_told_also_where_it_had_ended_when_close_was_dropped()
{
    record_lost_errors();
    for has_ended in [false, true] {
        let word = format!("ended before: {has_ended}");
        let (error, panics) = (word.clone(), word.clone());
        let jobs = Builder::new().on_error(OnError::Collect).open::<String>();
        jobs.spawn(async move { Err::<(), _>(error) });
        jobs.spawn(async move { panic!("{panics}") as Result<(), _> });
        if !has_ended {
            jobs.spawn(pending::<Result<(), _>>());
        }
        let mut close = Box::pin(jobs.close());
        assert!(futures::poll!(&mut close).is_pending());
        // Longer than two children need, and an owner that is told.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        drop(close);
        while lost(&word).len() < 2 {
            tokio::task::yield_now().await;
        }
    }
}
