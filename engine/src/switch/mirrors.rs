//! Which ports have mirrors to which: asked when a port comes or goes.

use super::Mirror;
use crate::flow::PortId;
use std::collections::{BTreeSet, HashMap};

/// Ports with a mirror, by the name of the port that shows it, there or not.
#[derive(Default)]
pub(super) struct Mirrors(HashMap<String, BTreeSet<PortId>>);

impl Mirrors {
    /// A port has another mirror than before.
    pub fn replace(&mut self, port: PortId, before: Option<&Mirror>, after: Option<&Mirror>) {
        if let Some(Mirror { to, .. }) = before
            && let Some(ports) = self.0.get_mut(to)
        {
            ports.remove(&port);
            if ports.is_empty() {
                self.0.remove(to);
            }
        }
        after.into_iter().for_each(|mirror| _ = self.0.entry(mirror.to.clone()).or_default().insert(port));
    }

    /// Ports that have a mirror to the port of a name.
    pub fn to(&self, name: &str) -> impl Iterator<Item = PortId> {
        self.0.get(name).into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_where_its_mirror_is_now() {
        let mirror = |to: &str| Mirror { to: to.into(), ingress: true, egress: true };
        let (a, b) = (mirror("a"), mirror("b"));
        let mut mirrors = Mirrors::default();
        mirrors.replace(PortId(1), None, Some(&a));
        mirrors.replace(PortId(2), None, Some(&a));
        mirrors.replace(PortId(1), Some(&a), Some(&b));
        let to = |mirrors: &Mirrors, name: &str| mirrors.to(name).collect::<Vec<_>>();
        assert_eq!((to(&mirrors, "a"), to(&mirrors, "b")), (vec![PortId(2)], vec![PortId(1)]));
        mirrors.replace(PortId(2), Some(&a), None);
        mirrors.replace(PortId(1), Some(&b), None);
        assert!(mirrors.0.is_empty());
    }
}
