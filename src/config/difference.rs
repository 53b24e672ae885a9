//! What leads from one configuration to another: data first, effects elsewhere.
//!
//! [`Difference::between`] is a pure function. Its steps are in an order in which each is possible when its turn comes:
//! ports go before the domains they were in, domains come before the ports that join them, and a port that merely changes
//! its domain finds the new one and has left the old one in time.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::{Config, DomainConfig, PortConfig};

/// The way from one configuration to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// In the order in which they are possible.
    pub steps: Vec<Step>,
    /// Keys of `[engine]` that differ. They are read when the switch starts and cannot change while it runs.
    pub restart: Vec<String>,
    /// What stays as it is.
    pub unchanged: Vec<Item>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is done to.
    pub item: Item,
    /// Why: what the whole difference does to the item, of which this step may be one half.
    pub purpose: Purpose,
    /// What is done.
    pub action: Action,
}

/// A port or a domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// Its name.
    pub name: String,
}

/// Kinds of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A bridge domain.
    Domain,
    /// A port.
    Port,
}

/// What becomes of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// There was none.
    Added,
    /// There will be none.
    Removed,
    /// These keys change while it works on; it loses no frame.
    Changed(Vec<String>),
    /// It is made anew, because these keys cannot change otherwise; none where it had ceased to work.
    Recreated(Vec<String>),
}

/// What is done to the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Close a port and remove what was made for it.
    RemovePort,
    /// Make a domain.
    AddDomain(DomainConfig),
    /// Give a domain other limits.
    ChangeDomain(DomainConfig),
    /// Change how an open port takes part.
    ChangePort(PortConfig),
    /// Remove a domain, which has no ports now.
    RemoveDomain,
    /// Make a port.
    AddPort(PortConfig),
}

impl Difference {
    /// What leads from `running` to `wanted`. Ports that are `gone` (their interface or its namespace was deleted) are
    /// made anew where they are still wanted.
    #[must_use]
    pub fn between(running: &Config, gone: &BTreeSet<String>, wanted: &Config) -> Self {
        let mut difference = Self { restart: keys(&running.engine, &wanted.engine), ..Self::default() };
        let domains = by_name(&running.domain, |domain| &domain.name);
        let ports = by_name(&running.port, |port| &port.name);
        for domain in &wanted.domain {
            difference.domain(domains.get(domain.name.as_str()).copied(), domain);
        }
        for port in &wanted.port {
            difference.port(ports.get(port.name.as_str()).copied(), gone.contains(&port.name), port);
        }
        let domains = by_name(&wanted.domain, |domain| &domain.name);
        let ports = by_name(&wanted.port, |port| &port.name);
        for domain in running.domain.iter().filter(|known| !domains.contains_key(known.name.as_str())) {
            difference.step(Item::domain(&domain.name), Purpose::Removed, Action::RemoveDomain);
        }
        for port in running.port.iter().filter(|known| !ports.contains_key(known.name.as_str())) {
            difference.step(Item::port(&port.name), Purpose::Removed, Action::RemovePort);
        }
        difference.steps.sort_by_key(|step| step.action.turn());
        difference
    }

    fn domain(&mut self, known: Option<&DomainConfig>, wanted: &DomainConfig) {
        let item = Item::domain(&wanted.name);
        match known {
            None => self.step(item, Purpose::Added, Action::AddDomain(wanted.clone())),
            Some(known) if known == wanted => self.unchanged.push(item),
            Some(known) => {
                self.step(item, Purpose::Changed(keys(known, wanted)), Action::ChangeDomain(wanted.clone()));
            }
        }
    }

    fn port(&mut self, known: Option<&PortConfig>, gone: bool, wanted: &PortConfig) {
        let item = Item::port(&wanted.name);
        match known {
            None => self.step(item, Purpose::Added, Action::AddPort(wanted.clone())),
            Some(known) if known == wanted && !gone => self.unchanged.push(item),
            Some(known) if changes_live(known, wanted) && !gone => {
                self.step(item, Purpose::Changed(keys(known, wanted)), Action::ChangePort(wanted.clone()));
            }
            Some(known) => {
                let purpose = Purpose::Recreated(keys(known, wanted));
                self.step(item.clone(), purpose.clone(), Action::RemovePort);
                self.step(item, purpose, Action::AddPort(wanted.clone()));
            }
        }
    }

    fn step(&mut self, item: Item, purpose: Purpose, action: Action) {
        self.steps.push(Step { item, purpose, action });
    }
}

fn by_name<T>(items: &[T], name: impl Fn(&T) -> &String) -> HashMap<&str, &T> {
    items.iter().map(|item| (name(item).as_str(), item)).collect()
}

impl Action {
    /// When it is its turn: actions of one turn are of one kind.
    pub(crate) fn turn(&self) -> u8 {
        match self {
            Self::RemovePort => 0,
            Self::AddDomain(_) => 1,
            Self::ChangeDomain(_) => 2,
            Self::ChangePort(_) => 3,
            Self::RemoveDomain => 4,
            Self::AddPort(_) => 5,
        }
    }
}

impl Item {
    fn domain(name: &str) -> Self {
        Self { kind: ItemKind::Domain, name: name.to_owned() }
    }

    fn port(name: &str) -> Self {
        Self { kind: ItemKind::Port, name: name.to_owned() }
    }
}

/// Whether an open port can become the other one: only keys differ that say how it takes part in its domain. What is
/// not named here is the interface's, and needs another one.
fn changes_live(known: &PortConfig, wanted: &PortConfig) -> bool {
    let PortConfig { domain, isolated, storm, vlan, guard, mirror, .. } = wanted.clone();
    PortConfig { domain, isolated, storm, vlan, guard, mirror, ..known.clone() } == *wanted
}

/// The keys in which two tables differ.
fn keys(known: &impl Serialize, wanted: &impl Serialize) -> Vec<String> {
    let (known, wanted) = (serde_json::json!(known), serde_json::json!(wanted));
    let names =
        |table: &serde_json::Value| table.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
    let all: BTreeSet<String> = &(names(&known) as BTreeSet<String>) | &names(&wanted);
    all.into_iter().filter(|key| known.get(key) != wanted.get(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cap, Poll, Storm};
    use proptest::prelude::*;

    /// Does the steps to a configuration, as a switch would, and refuses what a switch refuses.
    fn apply(steps: &[Step], config: &mut Config) {
        for Step { item, action, .. } in steps {
            let has_domain = |config: &Config, name: &str| config.domain.iter().any(|domain| domain.name == name);
            match action {
                Action::RemovePort => remove(&mut config.port, |port| port.name == item.name),
                Action::RemoveDomain => {
                    assert!(config.port.iter().all(|port| port.domain != item.name), "{} has ports", item.name);
                    remove(&mut config.domain, |domain| domain.name == item.name);
                }
                Action::AddDomain(domain) => {
                    assert!(!has_domain(config, &domain.name));
                    config.domain.push(domain.clone());
                }
                Action::ChangeDomain(domain) => replace(&mut config.domain, domain, |known| known.name == domain.name),
                Action::AddPort(port) => {
                    assert!(has_domain(config, &port.domain) && config.port.iter().all(|p| p.name != port.name));
                    let place = |p: &PortConfig| (p.netns.clone(), p.ifname.clone());
                    assert!(config.port.iter().all(|p| place(p) != place(port)), "the interface's name is taken");
                    config.port.push(port.clone());
                }
                Action::ChangePort(port) => {
                    assert!(has_domain(config, &port.domain));
                    replace(&mut config.port, port, |known| known.name == port.name);
                }
            }
        }
    }

    fn remove<T>(items: &mut Vec<T>, which: impl Fn(&T) -> bool) {
        let before = items.len();
        items.retain(|item| !which(item));
        assert_eq!(items.len(), before - 1);
    }

    fn replace<T: Clone>(items: &mut [T], new: &T, which: impl Fn(&T) -> bool) {
        *items.iter_mut().find(|item| which(item)).unwrap() = new.clone();
    }

    fn sorted(mut config: Config) -> Config {
        config.domain.sort_by(|a, b| a.name.cmp(&b.name));
        config.port.sort_by(|a, b| a.name.cmp(&b.name));
        config
    }

    /// A few names, so that two configurations share some; a few values, so that they differ in some.
    fn configs() -> impl Strategy<Value = Config> {
        let domain = (0..4_u32, 1..3_u32, 10..12_u32);
        let port = (0..6_u32, 0..4_usize, any::<bool>(), 0..2_u32, 0..2_u16, 0..3_u32);
        (prop::collection::vec(domain, 1..4), prop::collection::vec(port, 0..6)).prop_map(|(domains, ports)| {
            let mut config = Config::default();
            for (name, ageing_s, fdb_max) in domains {
                let domain = DomainConfig { ageing_s, fdb_max, ..DomainConfig::new(format!("d{name}")) };
                if config.domain.iter().all(|known| known.name != domain.name) {
                    config.domain.push(domain);
                }
            }
            for (name, domain, isolated, cap, mtu, interface) in ports {
                let domain = config.domain[domain % config.domain.len()].name.clone();
                let mut port = PortConfig::new(format!("p{name}"), domain);
                (port.isolated, port.storm.broadcast) = (isolated, Some(Cap(Some(cap).filter(|cap| *cap > 0))));
                port.netns = Some(format!("n{mtu}"));
                port.ifname = format!("eth{interface}");
                let taken =
                    |p: &PortConfig| p.name == port.name || (&p.netns, &p.ifname) == (&port.netns, &port.ifname);
                if !config.port.iter().any(taken) {
                    config.port.push(port);
                }
            }
            config
        })
    }

    proptest! {
        #[test]
        fn its_steps_lead_there(from in configs(), to in configs(), gone in prop::collection::btree_set("p[0-5]", 0..3)) {
            let difference = Difference::between(&from, &gone, &to);
            let mut reached = from.clone();
            apply(&difference.steps, &mut reached);
            prop_assert_eq!(sorted(reached), sorted(to.clone()));
            let touched: BTreeSet<_> = difference.steps.iter().map(|step| step.item.clone()).collect();
            prop_assert!(difference.unchanged.iter().all(|item| !touched.contains(item)));
            let wanted = to.domain.len() + to.port.len();
            let removed = difference.steps.iter().filter(|step| step.purpose == Purpose::Removed).count();
            prop_assert_eq!(touched.len() - removed + difference.unchanged.len(), wanted);
        }

        #[test]
        fn to_the_same_written_otherwise_there_is_nothing_to_do(config in configs(), long in any::<[bool; 4]>()) {
            let written = |port: &PortConfig| {
                let mut json = serde_json::json!(port);
                let said = [
                    ("mtu", 1500.into()),
                    ("queues", 1.into()),
                    ("fault", serde_json::json!({"drop": 0})),
                    ("netns", format!("/run/netns/{}", port.netns.as_deref().unwrap()).into()),
                ];
                said.into_iter().zip(long).filter(|(_, long)| *long).for_each(|((key, value), _)| json[key] = value);
                PortConfig::from_json(&json).unwrap()
            };
            let same = Config { port: config.port.iter().map(written).collect(), ..config.clone() };
            prop_assert_eq!(Difference::between(&config, &BTreeSet::new(), &same).steps, []);
        }

        #[test]
        fn to_itself_there_is_nothing_to_do(config in configs()) {
            let difference = Difference::between(&config, &BTreeSet::new(), &config);
            prop_assert_eq!(difference.steps, []);
        }
    }

    fn lan(ports: &[PortConfig]) -> Config {
        Config { domain: vec![DomainConfig::new("lan".into())], port: ports.to_vec(), ..Config::default() }
    }

    fn port(name: &str) -> PortConfig {
        PortConfig::new(name.into(), "lan".into())
    }

    fn purposes(from: &PortConfig, to: &PortConfig) -> Vec<Purpose> {
        let difference =
            Difference::between(&lan(std::slice::from_ref(from)), &BTreeSet::new(), &lan(std::slice::from_ref(to)));
        difference.steps.into_iter().map(|step| step.purpose).collect()
    }

    #[test]
    fn membership_changes_live_and_the_interface_does_not() {
        let capped = PortConfig {
            storm: Storm { broadcast: Some(Cap(Some(5))), ..Storm::default() },
            isolated: true,
            ..port("a")
        };
        assert_eq!(purposes(&port("a"), &capped), [Purpose::Changed(vec!["isolated".into(), "storm".into()])]);
        let moved = PortConfig { netns: Some("elsewhere".into()), ..capped };
        let purpose = Purpose::Recreated(vec!["isolated".into(), "netns".into(), "storm".into()]);
        assert_eq!(purposes(&port("a"), &moved), [purpose.clone(), purpose]);
    }

    #[test]
    fn what_is_gone_is_made_anew_if_it_is_still_wanted() {
        let gone = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let difference = Difference::between(&lan(&[port("a"), port("b")]), &gone, &lan(&[port("a")]));
        let actions: Vec<_> = difference.steps.iter().map(|step| (step.item.name.as_str(), &step.action)).collect();
        let add = Action::AddPort(port("a"));
        assert_eq!(actions, [("a", &Action::RemovePort), ("b", &Action::RemovePort), ("a", &add)]);
    }

    #[test]
    fn keys_that_need_a_restart_are_named() {
        let mut other = Config::default();
        (other.engine.poll, other.engine.frames) = (Poll::Busy, 1024);
        let difference = Difference::between(&Config::default(), &BTreeSet::new(), &other);
        assert_eq!(difference.restart, ["frames", "poll"]);
    }
}
