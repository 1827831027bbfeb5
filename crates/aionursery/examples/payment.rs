//! A payment beside a text message. The message fails, which cancels its siblings; the payment is
//! shielded: it is done when the block ends, and the block does not end before.
//!
//! `cargo run --example payment`

use std::time::Duration;

use aionursery::nursery;

async fn perform_payment() -> Result<&'static str, String> {
    println!("payment: begun");
    tokio::time::sleep(Duration::from_millis(100)).await;
    println!("payment: done");
    Ok("receipt")
}

async fn send_sms() -> Result<(), String> {
    tokio::time::sleep(Duration::from_millis(10)).await;
    Err("no signal".to_string())
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() {
    let mut receipt = None;
    let error = nursery(async |n| {
        let receipt = &mut receipt;
        n.named("payment").shielded().start_soon(async move {
            *receipt = Some(perform_payment().await?);
            Ok(())
        });
        n.named("sms").start_soon(send_sms());
        Ok(())
    })
    .await
    .expect_err("the message cannot be sent");
    println!("{error}");
    assert_eq!(receipt, Some("receipt"));
}
