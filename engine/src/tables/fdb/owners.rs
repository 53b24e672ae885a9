//! The ports of a forwarding database by small numbers that its entries name.
//!
//! A port that loses all its addresses gives up its number: entries that name it are void from then on, and are collected by
//! and by. The number is used again when the last of them is gone. Addresses set by the configuration have a number of
//! their own, which the port keeps.

use crate::flow::PortId;
use ahash::RandomState;
use std::collections::HashMap;

/// A port that has no addresses any more.
pub(super) const NOBODY: PortId = PortId(u16::MAX);

#[derive(Clone, Copy)]
struct Owner {
    port: PortId,
    fixed: bool,
    /// Entries that name it.
    entries: u32,
}

/// Ports with addresses.
pub(super) struct Owners {
    all: Vec<Owner>,
    free: Vec<u16>,
    numbers: HashMap<(PortId, bool), u16, RandomState>,
    /// Entries that name ports that gave them up.
    void: usize,
    /// The one with the most entries, as far as was noticed.
    fullest: u16,
    /// The port whose number was asked for last.
    last: (PortId, u16),
}

impl Owners {
    pub fn new() -> Owners {
        let (all, free) = (Vec::with_capacity(16), Vec::with_capacity(16));
        Owners {
            all,
            free,
            numbers: HashMap::with_capacity_and_hasher(16, RandomState::new()),
            void: 0,
            fullest: 0,
            last: (NOBODY, 0),
        }
    }

    /// The port of an owner, or [`NOBODY`].
    #[inline(always)]
    pub fn any_port(&self, owner: u16) -> PortId {
        self.all.get(usize::from(owner)).map_or(NOBODY, |owner| owner.port)
    }

    /// The port of an owner; `None` when it has given up its addresses.
    #[inline(always)]
    pub fn port(&self, owner: u16) -> Option<PortId> {
        self.all.get(usize::from(owner)).map(|owner| owner.port).filter(|&port| port != NOBODY)
    }

    /// Whether the addresses of an owner are set by the configuration.
    #[inline]
    pub fn is_fixed(&self, owner: u16) -> bool {
        self.all.get(usize::from(owner)).is_some_and(|owner| owner.fixed)
    }

    /// The number of a port.
    #[inline]
    pub fn number(&self, port: PortId, fixed: bool) -> Option<u16> {
        self.numbers.get(&(port, fixed)).copied()
    }

    /// How many addresses a port has learned.
    #[inline]
    pub fn learned(&self, port: PortId) -> u32 {
        self.number(port, false).map_or(0, |number| self.entries(number))
    }

    /// Entries that name an owner.
    #[inline]
    pub fn entries(&self, owner: u16) -> u32 {
        self.all.get(usize::from(owner)).map_or(0, |owner| owner.entries)
    }

    /// Entries that are void.
    pub fn void(&self) -> usize {
        self.void
    }

    /// Learned entries of the port that has the most, as far as was noticed.
    #[inline]
    pub fn most(&self) -> u32 {
        if self.has_fullest() { self.entries(self.fullest) } else { 0 }
    }

    #[inline]
    fn has_fullest(&self) -> bool {
        self.port(self.fullest).is_some() && !self.is_fixed(self.fullest)
    }

    /// One more entry for a port; the number it is to name. `None` when no number is left.
    #[inline]
    pub fn add(&mut self, port: PortId, fixed: bool) -> Option<u16> {
        let number = match self.last {
            (last, number) if last == port && !fixed => number,
            _ => self.number_or_new(port, fixed)?,
        };
        self.all[usize::from(number)].entries += 1;
        if !fixed && (!self.has_fullest() || self.entries(number) > self.entries(self.fullest)) {
            self.fullest = number;
        }
        Some(number)
    }

    /// One entry less.
    #[inline]
    pub fn remove(&mut self, number: u16) {
        let Some(owner) = self.all.get_mut(usize::from(number)) else { return };
        owner.entries = owner.entries.saturating_sub(1);
        if owner.port == NOBODY {
            self.void -= 1;
            if owner.entries == 0 {
                self.free.push(number);
            }
        }
    }

    #[inline(never)]
    fn number_or_new(&mut self, port: PortId, fixed: bool) -> Option<u16> {
        let number = match self.number(port, fixed) {
            Some(number) => number,
            None => self.admit(port, fixed)?,
        };
        if !fixed {
            self.last = (port, number);
        }
        Some(number)
    }

    #[cold]
    fn admit(&mut self, port: PortId, fixed: bool) -> Option<u16> {
        let owner = Owner { port, fixed, entries: 0 };
        let number = match self.free.pop() {
            Some(number) => number,
            None => u16::try_from(self.all.len()).ok()?,
        };
        match self.all.get_mut(usize::from(number)) {
            Some(known) => *known = owner,
            None => self.all.push(owner),
        }
        self.numbers.insert((port, fixed), number);
        Some(number)
    }

    /// Voids all entries of all ports but those that are fixed; says how many.
    pub fn give_up_learned(&mut self) -> usize {
        let ports: Vec<PortId> = self.numbers.keys().filter(|(_, fixed)| !fixed).map(|(port, _)| *port).collect();
        ports.into_iter().map(|port| self.give_up(port, false)).sum()
    }

    /// Voids all entries of a port; says how many.
    pub fn give_up(&mut self, port: PortId, fixed: bool) -> usize {
        let Some(number) = self.numbers.remove(&(port, fixed)) else { return 0 };
        self.last = (NOBODY, 0);
        let owner = &mut self.all[usize::from(number)];
        owner.port = NOBODY;
        let entries = owner.entries;
        if entries == 0 {
            self.free.push(number);
        }
        self.void += entries as usize;
        entries as usize
    }
}
