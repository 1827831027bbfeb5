//! A downloader: at most three files at once, each tried up to four times, all within a deadline. The
//! server fails now and then, and one file hangs.

use std::collections::BTreeMap;
use std::time::Duration;

use aionursery::time::current_time;
use aionursery::{Builder, Nursery, OnError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

async fn fetch(address: std::net::SocketAddr, file: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{file}\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    match text.strip_prefix("ok ") {
        Some(text) => Ok(text.into()),
        None => Err(std::io::Error::other("the server is busy")),
    }
}

async fn fetch_again(address: std::net::SocketAddr, file: &str) -> std::io::Result<String> {
    for pause in [1, 2, 4] {
        // Nothing of this crate's is in a single request: tokio's own timeout will do.
        match timeout(Duration::from_millis(300), fetch(address, file)).await {
            Ok(Ok(text)) => return Ok(text),
            _ => sleep(Duration::from_millis(pause)).await,
        }
    }
    fetch(address, file).await
}

/// Answers each file at its second request; `hangs` never.
async fn serve(n: Nursery<'_, std::io::Error>, listener: TcpListener) -> std::io::Result<()> {
    let mut asked = BTreeMap::new();
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut file = String::new();
        while !file.ends_with('\n') {
            file.push(char::from(stream.read_u8().await?));
        }
        let count: &mut u32 = asked.entry(file.clone()).or_default();
        *count += 1;
        let answer = if *count < 2 { "busy".into() } else { format!("ok {}", file.trim()) };
        n.spawn(async move {
            if file.trim() == "hangs" {
                sleep(Duration::from_secs(600)).await;
            }
            stream.write_all(answer.as_bytes()).await
        });
    }
}

#[tokio::main]
pub(crate) async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let files = ["a", "b", "hangs", "c", "d"];
    let outer = aionursery::nursery(async |n: Nursery<'_, std::io::Error>| {
        n.named("server").start_soon(serve(n.clone(), listener));
        let all = Builder::new()
            .on_error(OnError::Collect)
            .limit(3)
            .deadline(current_time() + Duration::from_secs(2));
        let mut kept = Vec::new();
        let ended = all.nursery(async |m: Nursery<'_, std::io::Error>| {
            kept.extend(files.map(|file| m.named(file).start_soon(fetch_again(address, file))));
            Ok(())
        });
        let in_time = ended.await;
        println!("{in_time:?}");
        let (mut done, mut late) = (Vec::new(), Vec::new());
        for download in kept {
            match download.await {
                Ok(text) => done.push(text),
                Err(error) => late.push(format!("{error}")),
            }
        }
        n.cancel(); // the server
        Ok((done, late))
    });
    let (done, late) = outer.await.expect("nothing fails but downloads");
    println!("{done:?}, {late:?}");
    assert_eq!(done, ["a", "b", "c", "d"]);
    assert_eq!(late, ["child \"hangs\": cancelled: the deadline has passed"]);
}
