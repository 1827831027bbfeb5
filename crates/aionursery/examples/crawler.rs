//! A crawler: pages link to pages, at most four are fetched at once, each has a deadline, and what
//! fails is reported at the end without stopping the rest. The "web" is a table in memory with
//! slow, broken and hanging pages; the shape is that of a real one.
//!
//! `cargo run --example crawler`

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use aionursery::{Builder, Nursery, OnError, fail_after};

type Web = BTreeMap<&'static str, (u64, &'static [&'static str])>;

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}: no such page")]
    Missing(&'static str),
    #[error("{page}: {source}")]
    Late { page: &'static str, source: aionursery::Cancelled },
}

async fn fetch(web: &Web, page: &'static str) -> Result<&'static [&'static str], Trouble> {
    let (milliseconds, links) = web.get(page).ok_or(Trouble::Missing(page))?;
    tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
    Ok(links)
}

/// Fetches a page and starts a sibling for each link that is new. Boxed, as it starts itself.
fn visit<'env>(
    n: Nursery<'env, Trouble>,
    web: &'env Web,
    seen: &'env Mutex<BTreeSet<&'static str>>,
    page: &'static str,
) -> Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send + 'env>> {
    Box::pin(async move {
        let links = fail_after(Duration::from_millis(200), fetch(web, page))
            .await
            .map_err(|source| Trouble::Late { page, source })??;
        println!("{page}: {} links", links.len());
        for link in links {
            if seen.lock().expect("no thread panics with it").insert(link) {
                n.named(*link).start_soon(visit(n.clone(), web, seen, link));
            }
        }
        Ok(())
    })
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() {
    let web = Web::from([
        ("/", (10, ["/a", "/b", "/hangs"].as_slice())),
        ("/a", (20, &["/b", "/c"])),
        ("/b", (30, &["/", "/missing"])),
        ("/c", (40, &[])),
        ("/hangs", (60_000, &[])),
    ]);
    let seen = Mutex::new(BTreeSet::from(["/"]));
    let ended = Builder::new()
        .on_error(OnError::Collect)
        .limit(4)
        .nursery(async |n| {
            n.named("/").start_soon(visit(n.clone(), &web, &seen, "/"));
            Ok(())
        })
        .await;
    println!("{} pages seen", seen.into_inner().expect("no thread panics with it").len());
    let trouble = ended.expect_err("two pages are in trouble");
    println!("{trouble}");
    assert_eq!(trouble.len(), 2);
}
