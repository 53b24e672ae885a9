//! Named things by number: found by either at once, however many there are.

use std::collections::{BTreeSet, HashMap};

/// Things that have a name and a number. A number that became free is given again, the lowest first.
pub(super) struct Numbers<T> {
    items: Vec<Option<T>>,
    by_name: HashMap<String, u16>,
    /// Below the length of `items`.
    free: BTreeSet<u16>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Numbers<T> {
        Numbers { items: Vec::new(), by_name: HashMap::new(), free: BTreeSet::new() }
    }
}

impl<T> Numbers<T> {
    /// All, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        (0..=u16::MAX).zip(&self.items).filter_map(|(id, item)| item.as_ref().map(|item| (id, item)))
    }

    /// By number; a free one is `None`.
    pub fn slots(&self) -> &[Option<T>] {
        &self.items
    }

    /// The number of a name.
    pub fn find(&self, name: &str) -> Option<u16> {
        self.by_name.get(name).copied()
    }

    pub fn get(&self, id: usize) -> Option<&T> {
        self.items.get(id)?.as_ref()
    }

    pub fn get_mut(&mut self, id: usize) -> Option<&mut T> {
        self.items.get_mut(id)?.as_mut()
    }

    /// Gives an item whose name is new the lowest free number; `None` when there is none. The highest of all stays free, as
    /// [`ELSEWHERE`](crate::worker::ELSEWHERE).
    pub fn add(&mut self, name: &str, item: T) -> Option<u16> {
        let fresh = u16::try_from(self.items.len()).ok().filter(|&id| id < u16::MAX);
        let id = self.free.pop_first().or(fresh)?;
        if Some(id) == fresh {
            self.items.push(None);
        }
        self.items[usize::from(id)] = Some(item);
        self.by_name.insert(name.into(), id);
        Some(id)
    }

    /// Takes an item out.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        let id = self.by_name.remove(name)?;
        self.free.insert(id);
        self.items[usize::from(id)].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_given_and_a_name_finds_it() {
        let mut numbers = Numbers::default();
        let ids: Vec<_> = ["a", "b", "c", "d"].map(|name| numbers.add(name, name)).into();
        assert_eq!(ids, [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!((numbers.remove("c"), numbers.remove("b"), numbers.remove("b")), (Some("c"), Some("b"), None));
        assert_eq!((numbers.find("b"), numbers.get(1), numbers.slots().len()), (None, None, 4));
        assert_eq!(["e", "f", "g"].map(|name| numbers.add(name, name)), [Some(1), Some(2), Some(4)]);
        assert_eq!(numbers.iter().map(|(id, name)| (id, *name)).collect::<Vec<_>>()[1..3], [(1, "e"), (2, "f")]);
        assert_eq!(numbers.find("g"), Some(4));
    }

    #[test]
    fn the_highest_number_of_all_is_never_given() {
        let mut numbers = Numbers::default();
        let given = (0..70_000).filter_map(|n| numbers.add(&n.to_string(), n)).count();
        assert_eq!(given, usize::from(u16::MAX));
        numbers.remove("7");
        assert_eq!((numbers.add("seven", 7), numbers.add("eight", 8)), (Some(7), None));
    }
}
