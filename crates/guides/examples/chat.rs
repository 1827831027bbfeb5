//! A websocket chat. Each guest is a child of the room's nursery and has a nursery of its own with two
//! children at most: one reads, one writes, and the end of either ends both. When the room closes,
//! every guest is told by a close frame and has five seconds to answer it.
//!
//! `cargo run -p aionursery-guides --example chat -- --serve`, then `websocat ws://127.0.0.1:7009` a few
//! times: the first line is the name. Ctrl-C closes the room. Without `--serve` it is its own two guests.

use std::net::SocketAddr;
use std::time::Duration;

use aionursery::{CancelScope, MultiError, Nursery, cancelled, gather, nursery, service::graceful};
use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

const GRACE: Duration = Duration::from_secs(5);

type Room = broadcast::Sender<String>;

async fn guest(stream: TcpStream, room: Room) -> Result<(), MultiError<Error>> {
    nursery(async move |n: Nursery<'_, Error>| {
        let (mut says, mut hears) = accept_async(stream).await?.split();
        let mut lines = room.subscribe();
        let Some(Message::Text(name)) = hears.next().await.transpose()? else { return Ok(()) };
        let writer = n.spawn(async move {
            loop {
                tokio::select! {
                    line = lines.recv() => match line {
                        Ok(line) => says.send(Message::text(line)).await?,
                        Err(broadcast::error::RecvError::Lagged(missed)) => {
                            says.send(Message::text(format!("({missed} lines missed)"))).await?;
                        }
                        Err(broadcast::error::RecvError::Closed) => return Ok(()),
                    },
                    // The guest answers by a close frame of its own, which ends the reader.
                    () = cancelled() => return says.send(Message::Close(None)).await,
                }
            }
        });
        let say = |line: String| drop(room.send(line));
        say(format!("{name} comes in"));
        while let Some(message) = hears.next().await.transpose()? {
            match message {
                Message::Text(text) => say(format!("{name}: {text}")),
                Message::Close(_) => break,
                _ => {}
            }
        }
        say(format!("{name} leaves"));
        writer.cancel();
        Ok(())
    })
    .await
}

async fn serve(listener: TcpListener) -> Result<(), MultiError<std::io::Error>> {
    let room = Room::new(100);
    nursery(async move |n: Nursery<'_, std::io::Error>| {
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => accepted?,
                () = cancelled() => return Ok(()),
            };
            let room = room.clone();
            n.named(peer.to_string()).spawn_plain(async move {
                if let Err(errors) = guest(stream, room).await {
                    eprintln!("{peer}: {errors}");
                }
            });
        }
    })
    .await
}

type Socket = WebSocketStream<TcpStream>;

async fn enter(address: SocketAddr, name: &str) -> Result<Socket, Error> {
    let stream = TcpStream::connect(address).await?;
    let (mut socket, _) = client_async("ws://room/", stream).await?;
    socket.send(Message::text(name.to_string())).await?;
    hear(&mut socket, &format!("{name} comes in")).await?;
    Ok(socket)
}

/// Waits for a line, whatever comes before it.
async fn hear(socket: &mut Socket, wanted: &str) -> Result<(), Error> {
    while let Some(message) = socket.next().await.transpose()? {
        println!("{message}");
        if message == Message::text(wanted.to_string()) {
            return Ok(());
        }
    }
    Err(Error::ConnectionClosed)
}

/// Until the room has closed: the socket answers the close frame by itself.
async fn stay(mut socket: Socket) -> Result<bool, Error> {
    let mut told = false;
    while let Some(message) = socket.next().await.transpose()? {
        told |= message.is_close();
    }
    Ok(told)
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().any(|arg| arg == "--serve") {
        let listener = TcpListener::bind("127.0.0.1:7009").await?;
        graceful(GRACE, serve(listener)).await??;
        return Ok(());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let room = CancelScope::new().cleanup(GRACE);
    let (served, told) = tokio::join!(room.run(serve(listener)), async {
        let (mut ann, mut bob) = (enter(address, "Ann").await?, enter(address, "Bob").await?);
        ann.send(Message::text("hello, Bob")).await?;
        hear(&mut bob, "Ann: hello, Bob").await?;
        bob.send(Message::text("hello, Ann")).await?;
        hear(&mut ann, "Bob: hello, Ann").await?;
        room.cancel_with("closing time");
        Ok::<_, Box<dyn std::error::Error>>(gather((stay(ann), stay(bob))).await?)
    });
    served??;
    assert_eq!(told?, (true, true));
    println!("the room is closed, and both were told");
    Ok(())
}
