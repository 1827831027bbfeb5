//! moro's example programs, on our facade.

mod hello_world {
    include!(concat!(env!("OUT_DIR"), "/moro_hello_world.rs"));
}
mod monitor {
    include!(concat!(env!("OUT_DIR"), "/moro_monitor.rs"));
}
mod replicas {
    include!(concat!(env!("OUT_DIR"), "/moro_replicas.rs"));
}

#[test]
fn hello_world_ends() {
    hello_world::main();
}

#[test]
fn monitor_ends() {
    monitor::main();
}

#[tokio::test]
async fn monitor_stops_at_the_first_that_is_out_of_range() {
    let error = monitor::run(vec![1, 2, -3, 10]).await.unwrap_err();
    assert_eq!(error.to_string(), "input out of range: -3");
    monitor::run(vec![1, 2, 10]).await.unwrap();
}

#[test]
fn replicas_end() {
    replicas::main();
}
