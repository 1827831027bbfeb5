//! The name that a function's child was given last: it is put together of two texts, which the function
//! gives out again for its next child. It must never hold anything but texts.

use crate::cpython::call::utf8;
use crate::cpython::errors::{Fallible, string};
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::cpython::slot::Slot;

/// The last one.
#[derive(Debug, Default)]
pub(crate) struct LastName {
    module: Slot,
    function: Slot,
    name: Slot,
}

impl LastName {
    /// The text `module.function`; one that is empty is left out with the dot.
    #[inline]
    pub(crate) fn of(&self, module: &Object, function: &Object) -> Fallible<Owned> {
        if self.module.holds(module)
            && self.function.holds(function)
            && let Some(name) = self.name.cloned()
        {
            return Ok(name);
        }
        self.make(module, function)
    }

    fn make(&self, module: &Object, function: &Object) -> Fallible<Owned> {
        let parts = [module, function].map(|part| utf8(part).unwrap_or_default());
        let both = parts.iter().all(|part| !part.is_empty());
        let name = string(module.py(), &parts.join(if both { "." } else { "" }))?;
        self.module.set(Owned::share(module));
        self.function.set(Owned::share(function));
        self.name.set(name.clone());
        Ok(name)
    }

    /// Shows the collector what it holds.
    pub(crate) fn show<E>(&self, visit: impl Fn(&Object) -> Result<(), E>) -> Result<(), E> {
        self.module.show(&visit)?;
        self.function.show(&visit)?;
        self.name.show(&visit)
    }

    /// Lets go of them.
    pub(crate) fn clear(&self) {
        self.module.clear();
        self.function.clear();
        self.name.clear();
    }
}
