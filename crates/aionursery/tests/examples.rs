//! The example programs that end by themselves, each run to its end: not `echo_server`.
#![cfg(feature = "tokio")]

macro_rules! run {
    ($($name:ident $path:literal)+) => {$(
        #[path = $path]
        mod $name;

        #[test]
        fn $name() {
            let _ended = self::$name::main();
        }
    )+};
}

run! {
    crawler "../examples/crawler.rs"
    downloader "../examples/downloader.rs"
    payment "../examples/payment.rs"
    pipeline "../examples/pipeline.rs"
    producer_consumers "../examples/producer_consumers.rs"
    supervisor "../examples/supervisor.rs"
}
