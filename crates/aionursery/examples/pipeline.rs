//! A pipeline of three stages over data that it borrows: lines are parsed by two workers and added up,
//! through channels whose ends tell the next stage that nothing more comes. No line is copied.

use aionursery::{MultiError, Nursery, nursery};
use tokio::sync::mpsc::{Receiver, Sender, channel};

#[derive(Debug)]
struct BadLine<'a>(&'a str);

type Stage<'a> = Result<(), BadLine<'a>>;

async fn read<'a>(text: &'a str, lines: Sender<&'a str>) -> Stage<'a> {
    for line in text.lines() {
        if lines.send(line).await.is_err() {
            break; // the parsers have ended
        }
    }
    Ok(())
}

async fn parse<'a>(mut lines: Receiver<&'a str>, numbers: Sender<u32>) -> Stage<'a> {
    while let Some(line) = lines.recv().await {
        let number = line.trim().parse().map_err(|_| BadLine(line))?;
        if numbers.send(number).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn sum(text: &str) -> Result<u32, MultiError<BadLine<'_>>> {
    let (even, odd) =
        text.split_at(text.len() / 2 + text[text.len() / 2..].find('\n').unwrap_or(0));
    nursery(async |n: Nursery<'_, BadLine<'_>>| {
        let (numbers, mut all) = channel(4);
        for (name, half) in [("first half", even), ("second half", odd.trim_start())] {
            let (lines, parsed) = channel(4);
            n.named(name).start_soon(read(half, lines));
            n.named(name).start_soon(parse(parsed, numbers.clone()));
        }
        drop(numbers); // the last parser closes the channel
        let mut sum = 0;
        while let Some(number) = all.recv().await {
            sum += number;
        }
        Ok(sum)
    })
    .await
}

#[tokio::main]
pub(crate) async fn main() {
    let text: String = (1..=100).map(|number| format!("{number}\n")).collect();
    let total = sum(&text).await.expect("these are numbers");
    println!("the sum is {total}");
    assert_eq!(total, 5050);

    // One bad line ends all stages, and comes back with the name of its own.
    let bad = text.replace("77\n", "seventy-seven\n");
    let error = sum(&bad).await.expect_err("one line is no number");
    println!("{error:?}");
    assert_eq!(error.first().and_then(|error| error.name()), Some("second half"));
    assert_eq!(error.errors().next().expect("it is there").0, "seventy-seven");
}
