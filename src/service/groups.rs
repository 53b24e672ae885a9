//! Groups of isolated ports: names for people, bits for the switch.

use std::collections::HashMap;

use crossdock_engine::tables::topology::IsolationGroups;

use super::{Kind, Refusal};
use crate::config::{GROUPS_MAX, Isolated};

/// The groups that ports are of, each with its bit and how many ports those are.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_name: HashMap<String, (u32, usize)>,
    used: u64,
}

/// The bit of the first group: those before it are [`IsolationGroups::COMMON`].
const FIRST: u32 = IsolationGroups::COMMON.0.count_ones();

impl Groups {
    /// Takes a port in; the bits of its groups.
    ///
    /// # Errors
    /// There would be more groups than bits; then nothing is changed.
    pub fn join(&mut self, isolated: &Isolated) -> Result<IsolationGroups, Refusal> {
        let fresh = isolated.groups().filter(|name| !self.by_name.contains_key(*name)).count();
        if self.by_name.len() + fresh > GROUPS_MAX {
            let what = format!("isolated: the switch has no more than {GROUPS_MAX} groups");
            return Err(Refusal::new(Kind::Conflict, what, "a group that there is; one goes with its last port"));
        }
        Ok(IsolationGroups(isolated.groups().map(|name| self.enter(name)).fold(0, |bits, bit| bits | 1 << bit)))
    }

    fn enter(&mut self, name: &str) -> u32 {
        if let Some((bit, ports)) = self.by_name.get_mut(name) {
            *ports += 1;
            return *bit;
        }
        let bit = (self.used >> FIRST).trailing_ones() + FIRST;
        self.used |= 1 << bit;
        self.by_name.insert(name.into(), (bit, 1));
        bit
    }

    /// A port is of these groups no more.
    pub fn leave(&mut self, isolated: &Isolated) {
        for name in isolated.groups() {
            let Some((bit, ports)) = self.by_name.get_mut(name) else { continue };
            *ports -= 1;
            if *ports == 0 {
                self.used &= !(1 << *bit);
                self.by_name.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Isolated {
        Isolated::From(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn ports_of_one_group_share_a_bit_until_the_last_goes() {
        let mut groups = Groups::default();
        let ab = groups.join(&of(&["a", "b"])).unwrap();
        let b = groups.join(&of(&["b"])).unwrap();
        assert_eq!((ab.0.count_ones(), b.0.count_ones(), ab.0 & b.0), (2, 1, b.0));
        assert!(!ab.isolates(IsolationGroups::COMMON));
        groups.leave(&of(&["a", "b"]));
        assert_eq!(groups.join(&of(&["b"])), Ok(b));
        assert_eq!(groups.join(&of(&["c"])), Ok(IsolationGroups(ab.0 & !b.0)), "a's is free again");
        assert_eq!(groups.join(&Isolated::Yes), Ok(IsolationGroups::default()));
    }

    #[test]
    fn all_bits_but_those_of_the_switch_are_given() {
        let mut groups = Groups::default();
        let bits = (0..GROUPS_MAX).map(|n| groups.join(&of(&[&format!("g{n}")])).unwrap().0);
        let all = bits.fold(0, |all, bits| if all & bits == 0 { all | bits } else { 0 });
        assert_eq!(all, !(IsolationGroups::COMMON.0 | 1 << 63));
        let refused = groups.join(&of(&["g0", "one-more"])).unwrap_err();
        assert!(refused.what.contains("no more than 62 groups"), "{refused}");
        groups.leave(&of(&["g7"]));
        assert_eq!(groups.join(&of(&["one-more"])), Ok(IsolationGroups(1 << 8)));
    }
}
