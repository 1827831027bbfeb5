//! Where a panic happened. The payload does not say it, only the panic hook knows: so this is
//! switched on by the program, never by the library. It must not change what the hook before did.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static LAST: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// From now on a [`Panic`](crate::Panic) knows its [`location`](crate::Panic::location). Adds to
/// the panic hook that is set at this moment, which goes on to be called; call it once, after
/// setting your own.
///
/// ```
/// aionursery::record_panic_locations();
/// ```
pub fn record_panic_locations() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let location = info.location().map(|at| at.to_string().into_boxed_str());
            let _ = LAST.try_with(|last| last.replace(location));
            before(info);
        }));
    });
}

/// The place of the panic that was just caught on this thread.
pub(crate) fn take_location() -> Option<Box<str>> {
    LAST.try_with(RefCell::take).ok().flatten()
}
