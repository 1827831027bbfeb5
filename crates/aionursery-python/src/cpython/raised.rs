//! What an exception is, as far as the rules tell exceptions apart, and groups that carry a
//! cancellation. It must never say what that means: the core does.

use nursery_core::ErrorKind;

use super::call::{getattr, method1};
use super::containers::{item, items};
use super::errors::{Fallible, exc, is_of, optional};
use super::imports::{imports, names};
use super::object::Object;
use super::owned::Owned;

/// Whether an exception is a cancellation.
#[inline]
pub(crate) fn is_cancellation(exception: &Object) -> bool {
    is_of(exception, imports(exception.py()).cancelled_error)
}

/// Whether an exception is a group, as what a nursery raises.
pub(crate) fn is_group(exception: &Object) -> bool {
    is_of(exception, exc::base_exception_group(exception.py()))
}

/// What an exception is.
pub(crate) fn kind(exception: &Object) -> ErrorKind {
    let py = exception.py();
    if is_cancellation(exception) {
        ErrorKind::Cancellation
    } else if is_of(exception, exc::keyboard_interrupt(py))
        || is_of(exception, exc::system_exit(py))
    {
        ErrorKind::Exit
    } else if is_of(exception, exc::generator_exit(py)) {
        ErrorKind::Close
    } else {
        ErrorKind::Error
    }
}

/// What an exception is by which a child or a body has ended: a group is looked into. Runs no code of
/// the program's.
pub(crate) fn kind_of_end(exception: &Object) -> ErrorKind {
    let kind = kind(exception);
    if kind != ErrorKind::Error || !may_carry_cancellations(exception) {
        return kind;
    }
    match optional(contents(exception)) {
        Some((true, true)) => ErrorKind::Group,
        Some((true, false)) => ErrorKind::Cancellations,
        _ => kind,
    }
}

/// Whether an exception is a group that can have a cancellation in it. One that is an `Exception`
/// cannot.
fn may_carry_cancellations(exception: &Object) -> bool {
    let py = exception.py();
    is_of(exception, exc::base_exception_group(py)) && !is_of(exception, exc::exception(py))
}

/// What is in a group, as a tuple. The base class is asked, since a subclass may say anything.
fn members(group: &Object) -> Fallible<Owned> {
    let py = group.py();
    let members = getattr(exc::base_exception_group(py), names(py).exceptions)?;
    method1(&members, names(py).descriptor_get, group)
}

/// Whether there are cancellations in a group, and whether there is anything else.
fn contents(group: &Object) -> Fallible<(bool, bool)> {
    let class = exc::base_exception_group(group.py());
    let (mut cancellations, mut errors) = (false, false);
    let mut walk = vec![Owned::share(group)];
    while let Some(group) = walk.pop() {
        let parts = members(&group)?;
        for &part in items(&parts) {
            if is_of(part, class) {
                walk.push(Owned::share(part));
            } else if is_cancellation(part) {
                cancellations = true;
            } else {
                errors = true;
            }
        }
    }
    Ok((cancellations, errors))
}

/// The first cancellation in a group, or the exception itself if it is no group.
pub(crate) fn innermost(exception: &Owned) -> Owned {
    let class = exc::base_exception_group(exception.py());
    let mut found = exception.clone();
    while is_of(&found, class) {
        match optional(members(&found).and_then(|members| item(&members, 0))) {
            Some(inner) => found = inner,
            None => break,
        }
    }
    found
}

/// A group of exceptions, seen for cancellations in it at any depth.
pub(crate) enum Group {
    /// It is no group, or has none.
    Without,
    /// It has some; what is left without them, if anything is.
    With(Option<Owned>),
}

impl Group {
    /// Looks into an exception. `split` may be the program's.
    pub(crate) fn of(exception: &Object) -> Fallible<Self> {
        if !may_carry_cancellations(exception) {
            return Ok(Self::Without);
        }
        let imports = imports(exception.py());
        let parts = method1(exception, imports.names.split, imports.cancelled_error)?;
        let (found, rest) = (item(&parts, 0)?, item(&parts, 1)?);
        if found.is_none() {
            return Ok(Self::Without);
        }
        Ok(Self::With(if rest.is_none() { None } else { Some(rest) }))
    }

    /// As [`of`](Self::of), for an exception that must not be lost: one that cannot be split stays.
    pub(crate) fn of_error(exception: &Object) -> Self {
        optional(Self::of(exception)).unwrap_or(Self::Without)
    }
}
