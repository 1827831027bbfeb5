//! R25, R29: what must not compile, with the compiler's words for it.

#[test]
fn r25_r29_what_would_be_unsound_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
