//! An axum server with a nursery for each connection, and a graceful shutdown. A request answers at once
//! and leaves work behind; that work is a child of its connection's nursery, so no connection is done
//! before it, and no shutdown forgets it. When the server is told to stop it takes no more connections,
//! answers what it is answering, lets the work end, and cuts off what has not ended after ten seconds.
//!
//! `cargo run -p aionursery-guides --example axum_server -- --serve`, then
//! `curl -X POST http://127.0.0.1:7008/order/beans`, then Ctrl-C. Without `--serve` it is its own client.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aionursery::{CancelScope, MultiError, Nursery, cancelled, nursery, service::graceful};
use axum::extract::Path;
use axum::routing::post;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const GRACE: Duration = Duration::from_secs(10);

/// What a handler may start.
type Jobs = Nursery<'static, io::Error>;
type Mails = Arc<Mutex<Vec<String>>>;

async fn order(
    Extension(jobs): Extension<Jobs>,
    Extension(sent): Extension<Mails>,
    Path(item): Path<String>,
) -> String {
    let answer = format!("you have ordered {item}\n");
    jobs.named(format!("mail about {item}")).spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        sent.lock().unwrap().push(format!("{item} will come"));
        Ok(())
    });
    answer
}

/// One connection, with all that its requests have started.
async fn connection(app: Router, stream: TcpStream) -> Result<(), MultiError<io::Error>> {
    nursery(async move |jobs: Jobs| {
        let service = TowerToHyperService::new(app.layer(Extension(jobs)));
        let http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let mut http = pin!(http);
        tokio::select! {
            ended = http.as_mut() => return ended.map_err(io::Error::other),
            // No more requests on this connection; the one that is being answered ends.
            () = cancelled() => http.as_mut().graceful_shutdown(),
        }
        http.await.map_err(io::Error::other)
    })
    .await
}

async fn serve(listener: TcpListener, app: Router) -> Result<(), MultiError<io::Error>> {
    nursery(async move |n: Nursery<'_, io::Error>| {
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => accepted?,
                () = cancelled() => return Ok(()),
            };
            let app = app.clone();
            n.named(peer.to_string()).spawn_plain(async move {
                if let Err(errors) = connection(app, stream).await {
                    // The trouble of one connection is not the others'.
                    eprintln!("{peer}: {errors}");
                }
            });
        }
    })
    .await
}

async fn client(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"POST /order/beans HTTP/1.1\r\nhost: here\r\n\r\n").await?;
    let mut answer = String::new();
    while !answer.ends_with("beans\n") {
        let mut part = [0; 1024];
        let read = stream.read(&mut part).await?;
        answer.push_str(std::str::from_utf8(&part[..read]).map_err(io::Error::other)?);
    }
    Ok(answer)
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sent = Mails::default();
    let app = Router::new().route("/order/{item}", post(order)).layer(Extension(sent.clone()));
    if std::env::args().any(|arg| arg == "--serve") {
        let listener = TcpListener::bind("127.0.0.1:7008").await?;
        graceful(GRACE, serve(listener, app)).await??;
        return Ok(());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = CancelScope::new().cleanup(GRACE);
    let running = server.run(serve(listener, app));
    let (served, answer) = tokio::join!(running, async {
        let answer = client(address).await;
        // The answer is there, the mail is not sent yet.
        server.cancel_with("the shop is closing");
        answer
    });
    served??;
    let answer = answer?;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("you have ordered beans\n"));
    assert_eq!(*sent.lock().unwrap(), ["beans will come"]);
    println!("{answer}and the mail was sent: {:?}", sent.lock().unwrap());
    Ok(())
}
