//! A TCP echo server that shuts down gracefully on Ctrl-C: it takes no more connections, those
//! that are open have five seconds to finish, then they are dropped. The listening task, every
//! connection and the wait for Ctrl-C are children of one nursery, so none is left behind.
//!
//! `cargo run --example echo_server`, then `nc 127.0.0.1 7007`. With `--demo` it is its own client
//! and shuts itself down.

use std::time::Duration;

use aionursery::{Builder, Nursery};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Error = std::io::Error;

async fn echo(n: Nursery<'_, Error>, mut stream: TcpStream) -> Result<(), Error> {
    let mut buffer = [0; 1024];
    loop {
        let read = tokio::select! {
            read = stream.read(&mut buffer) => read?,
            // Told of the shutdown between two messages: say goodbye.
            () = n.cancelled() => return stream.write_all(b"bye\n").await,
        };
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

async fn client(address: std::net::SocketAddr) -> Result<String, Error> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"hello\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let demo = std::env::args().any(|arg| arg == "--demo");
    let listener = TcpListener::bind(if demo { "127.0.0.1:0" } else { "127.0.0.1:7007" }).await?;
    let address = listener.local_addr()?;
    println!("listening on {address}");
    let said = demo.then(|| tokio::spawn(client(address)));
    let ended = Builder::new()
        .cleanup(Duration::from_secs(5))
        .nursery(async |n: Nursery<'static, Error>| {
            let ctrl_c = n.clone();
            n.named("ctrl-c").spawn(async move {
                if demo {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                } else {
                    tokio::signal::ctrl_c().await?;
                }
                ctrl_c.cancel_with("shutdown");
                Ok(())
            });
            loop {
                let (stream, peer) = tokio::select! {
                    accepted = listener.accept() => accepted?,
                    () = n.cancelled() => return Ok(()),
                };
                n.named(peer.to_string()).spawn(echo(n.clone(), stream));
            }
        })
        .await;
    if let Some(said) = said {
        let said = said.await??;
        println!("the client heard {said:?}");
        assert_eq!(said, "hello\nbye\n");
    }
    ended?;
    println!("every connection is closed");
    Ok(())
}
