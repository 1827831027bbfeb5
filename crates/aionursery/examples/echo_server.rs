//! A TCP echo server that shuts down gracefully on Ctrl-C: it takes no more connections at once,
//! those that are open hear of it and have five seconds to finish, then they are dropped and named.
//! Every connection is a child of one nursery, so none is left behind; what goes wrong with one
//! is reported and ends no other.
//!
//! `cargo run --example echo_server`, then `nc 127.0.0.1 7007`. With `--demo` it is its own client
//! and shuts itself down.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use aionursery::{Builder, Nursery, cancelled};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let read = tokio::select! {
            read = stream.read(&mut buffer) => read?,
            // Told of the shutdown between two messages: say goodbye.
            () = cancelled() => return stream.write_all(b"bye\n").await,
        };
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

/// A connection that is dropped before its end says so.
struct Open(SocketAddr);

impl Drop for Open {
    fn drop(&mut self) {
        eprintln!("{}: cut off", self.0);
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let open = Open(peer);
    if let Err(error) = echo(stream).await {
        // Not an error of the nursery's: that would cancel all the others.
        eprintln!("{peer}: {error}");
    }
    std::mem::forget(open);
    Ok(())
}

async fn listen(n: Nursery<'_, io::Error>, listener: TcpListener, demo: bool) -> io::Result<()> {
    let mut told_to_stop = pin!(async {
        if !demo {
            return tokio::signal::ctrl_c().await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(())
    });
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                n.named(peer.to_string()).spawn(serve(stream, peer));
            }
            told = &mut told_to_stop => {
                n.cancel_with("shutdown");
                return told;
            }
        }
    }
}

async fn client(address: SocketAddr) -> io::Result<String> {
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
    let server = Builder::new().cleanup(Duration::from_secs(5));
    server.nursery(move |n| listen(n, listener, demo)).await?;
    if let Some(said) = said {
        let said = said.await??;
        println!("the client heard {said:?}");
        assert_eq!(said, "hello\nbye\n");
    }
    println!("every connection is closed");
    Ok(())
}
