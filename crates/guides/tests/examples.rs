//! The example programs that need other crates, each run to its end.

macro_rules! run {
    ($($name:ident $path:literal)+) => {$(
        #[path = $path]
        mod $name;

        #[test]
        fn $name() {
            self::$name::main().unwrap();
        }
    )+};
}

run! {
    axum_server "../examples/axum_server.rs"
    chat "../examples/chat.rs"
}
