//! One producer, three consumers on the workers, a bounded channel between them. The consumers end
//! when the channel does; if one failed, the producer and the others would be cancelled.
//!
//! `cargo run --example producer_consumers`

use aionursery::nursery;
use tokio::sync::{Mutex, mpsc};

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (send, receive) = mpsc::channel::<u64>(4);
    let receive = std::sync::Arc::new(Mutex::new(receive));
    let sum = nursery(async |n| {
        n.named("producer").start_soon(async move {
            for number in 1..=100 {
                send.send(number).await.map_err(|_| "the consumers have ended")?;
            }
            Ok::<_, &str>(())
        });
        let consumers: Vec<_> = (0..3)
            .map(|number| {
                let receive = receive.clone();
                n.named(format!("consumer {number}")).spawn(async move {
                    let mut sum = 0;
                    while let Some(number) = { receive.lock().await.recv().await } {
                        sum += number;
                    }
                    Ok(sum)
                })
            })
            .collect();
        let mut sum = 0;
        for consumer in consumers {
            sum += consumer.value().await;
        }
        Ok(sum)
    })
    .await?;
    println!("the consumers summed up {sum}");
    assert_eq!(sum, 5050);
    Ok(())
}
