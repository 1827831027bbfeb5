//! Children that were started and have not begun, in the order of starting. It must never ask the allocator for
//! one that is alone: many nurseries have one child.

use std::vec::IntoIter;

use crate::child::Running;

/// Those that were started since the driver's last look.
pub(super) struct Started<E> {
    /// One that is alone; several are in the list.
    one: Option<Running<E>>,
    several: Vec<Running<E>>,
}

/// Those that the driver has taken up.
pub(crate) struct Fresh<E> {
    one: Option<Running<E>>,
    several: IntoIter<Running<E>>,
}

impl<E> Started<E> {
    #[inline]
    pub(super) fn new() -> Self {
        Self { one: None, several: Vec::new() }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.several.is_empty() && self.one.is_none()
    }

    #[cfg(feature = "tokio")]
    pub(super) fn len(&self) -> usize {
        usize::from(self.one.is_some()) + self.several.len()
    }

    #[inline]
    pub(super) fn push(&mut self, child: Running<E>) {
        if self.several.len() == self.several.capacity() {
            return self.push_beyond(child);
        }
        self.several.push(child);
    }

    /// There is no list yet, or it is full.
    #[inline(never)]
    fn push_beyond(&mut self, child: Running<E>) {
        match self.one.take() {
            None if self.several.is_empty() => self.one = Some(child),
            first => self.several.extend(first.into_iter().chain([child])),
        }
    }

    #[inline]
    pub(super) fn take(&mut self) -> Fresh<E> {
        let Self { one, several } = std::mem::replace(self, Self::new());
        Fresh { one, several: several.into_iter() }
    }
}

impl<E> Fresh<E> {
    #[inline]
    pub(crate) fn new() -> Self {
        Started::new().take()
    }

    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.several.as_slice().is_empty() && self.one.is_none()
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn left(&self) -> usize {
        usize::from(self.one.is_some()) + self.several.len()
    }
}

impl<E> Iterator for Fresh<E> {
    type Item = Running<E>;

    #[inline]
    fn next(&mut self) -> Option<Running<E>> {
        self.several.next().or_else(|| self.one.take())
    }
}
