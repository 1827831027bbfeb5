//! An arena with `u32` keys: the tree's scopes, members and nurseries live in slabs, so that
//! links between them are indices and need no `unsafe`. It must never hand out a key twice while
//! the first holder is alive.

#[derive(Clone, Debug)]
enum Entry<T> {
    Vacant(u32),
    Full(T),
}

/// No entry: the end of a list, the parent of a root.
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    len: u32,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), free: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn room(&self) -> usize {
        self.entries.capacity()
    }

    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if self.free == NONE {
            let key = u32::try_from(self.entries.len()).expect("fewer than 2^32 entries");
            self.entries.push(Entry::Full(value));
            key
        } else {
            let key = self.free;
            let entry = &mut self.entries[key as usize];
            if let Entry::Vacant(next) = *entry {
                self.free = next;
            }
            *entry = Entry::Full(value);
            key
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: u32) -> T {
        let entry = std::mem::replace(&mut self.entries[key as usize], Entry::Vacant(self.free));
        match entry {
            Entry::Full(value) => {
                self.freed(key);
                value
            }
            Entry::Vacant(_) => panic!("slab: key {key} is vacant"),
        }
    }

    /// As [`remove`](Self::remove), and drops the value where it lies.
    #[inline]
    pub(crate) fn clear(&mut self, key: u32) {
        let entry = &mut self.entries[key as usize];
        assert!(matches!(entry, Entry::Full(_)), "slab: key {key} is vacant");
        *entry = Entry::Vacant(self.free);
        self.freed(key);
    }

    #[inline]
    fn freed(&mut self, key: u32) {
        self.free = key;
        self.len -= 1;
        if self.len == 0 && self.entries.len() > 4096 {
            // A burst is over: give its memory back.
            self.entries = Vec::new();
            self.free = NONE;
        }
    }

    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        match self.entries.get(key as usize)? {
            Entry::Full(value) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        match self.entries.get_mut(key as usize)? {
            Entry::Full(value) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries().map(|(_, value)| value)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Full(value) => Some(value),
            Entry::Vacant(_) => None,
        })
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.entries).filter_map(|(key, entry)| match entry {
            Entry::Full(value) => Some((key, value)),
            Entry::Vacant(_) => None,
        })
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;
    #[inline]
    fn index(&self, key: u32) -> &T {
        match &self.entries[key as usize] {
            Entry::Full(value) => value,
            Entry::Vacant(_) => panic!("slab: key {key} is vacant"),
        }
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, key: u32) -> &mut T {
        match &mut self.entries[key as usize] {
            Entry::Full(value) => value,
            Entry::Vacant(_) => panic!("slab: key {key} is vacant"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_key_is_used_again_and_the_rest_stays() {
        let mut slab = Slab::new();
        let keys: Vec<u32> = (0..4).map(|n| slab.insert(n)).collect();
        assert_eq!(slab.remove(keys[1]), 1);
        assert_eq!(slab.remove(keys[3]), 3);
        assert_eq!(slab.insert(30), keys[3]);
        assert_eq!(slab.insert(10), keys[1]);
        assert_eq!(slab.iter().copied().collect::<Vec<_>>(), [0, 10, 2, 30]);
        assert_eq!(slab.len(), 4);
        slab.clear(keys[2]);
        assert_eq!((slab.insert(20), slab.len()), (keys[2], 4));
    }

    #[test]
    #[should_panic(expected = "vacant")]
    fn a_key_that_was_removed_is_refused() {
        let mut slab = Slab::new();
        let key = slab.insert(());
        slab.remove(key);
        slab.remove(key);
    }
}
