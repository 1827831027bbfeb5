//! The programs of the guides, as tests. It is a package of its own, which is never published, so that
//! the published ones include no file from outside.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust.md")]
mod rust {}
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust-coming-from.md")]
mod rust_coming_from {}
