//! What happens to the ports of a running switch, seen from outside: counters are compared once in a while, so nothing
//! on a frame's way has to tell anybody.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crossdock_engine::switch::PortGlance;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

use super::Service;

/// How often the ports are looked at. Workers look at links as often.
const LOOK: Duration = Duration::from_secs(1);

/// Something that happened between two looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Frames can pass again.
    PortUp,
    /// Frames cannot pass: the interface was set down, or is gone.
    PortDown,
    /// MAC addresses jump between this port and others faster than hosts move: so many were pinned since the last look.
    MacFlapping(u64),
}

/// Looks at the ports of a switch once a second, and calls `tell` with what happened to which.
pub async fn observe(service: Arc<Service>, tell: impl Fn(&str, Happening)) {
    let mut observer = Observer::default();
    let mut pause = tokio::time::interval(LOOK);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        let service = Arc::clone(&service);
        // Aside: while a worker is busy with ports that come or go, this waits.
        let ports = spawn_blocking(move || service.switch().glances()).await;
        let news = ports.map(|ports| observer.look(&ports)).unwrap_or_default();
        news.into_iter().for_each(|(port, happening)| tell(&port, happening));
    }
}

/// The last look.
#[derive(Debug, Default)]
pub struct Observer {
    ports: HashMap<String, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    up: bool,
    flapping: u64,
    /// Whether addresses were flapping already when it last looked.
    told: bool,
}

impl Observer {
    /// Looks again: what happened to which port. A port that is new is no news. Flapping is told when it begins, not
    /// again while it goes on.
    pub fn look(&mut self, ports: &[PortGlance]) -> Vec<(String, Happening)> {
        let mut news = Vec::new();
        let mut seen = HashMap::with_capacity(ports.len());
        for port in ports {
            let now = self.compare(port, |what| news.push((port.name.clone(), what)));
            seen.insert(port.name.clone(), now);
        }
        self.ports = seen;
        news
    }

    fn compare(&self, port: &PortGlance, mut tell: impl FnMut(Happening)) -> Seen {
        let PortGlance { up, mac_flaps: flapping, .. } = *port;
        let Some(before) = self.ports.get(&port.name) else { return Seen { up, flapping, told: false } };
        if before.up != up {
            tell(if up { Happening::PortUp } else { Happening::PortDown });
        }
        // A port made anew under its old name counts from nothing.
        let flaps = flapping.saturating_sub(before.flapping);
        if flaps > 0 && !before.told {
            tell(Happening::MacFlapping(flaps));
        }
        Seen { up, flapping, told: flaps > 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn port(name: &str, up: bool, flapping: u64) -> PortGlance {
        PortGlance { name: name.into(), up, mac_flaps: flapping }
    }

    #[test]
    fn a_look_that_waits_for_the_switch_holds_up_nobody() {
        let (service, occupied) = super::super::occupied::occupied();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let begin = std::time::Instant::now();
        runtime.block_on(async {
            tokio::spawn(observe(service, |_, _| ()));
            tokio::time::sleep(Duration::from_millis(100)).await;
        });
        let waited = begin.elapsed();
        drop(occupied);
        assert!(waited < Duration::from_secs(5), "{waited:?}");
    }

    #[test]
    fn links_that_change_are_news_once() {
        let mut observer = Observer::default();
        assert_eq!(observer.look(&[port("a", true, 0), port("b", false, 0)]), [], "what is new is no news");
        let down = ("a".to_owned(), Happening::PortDown);
        assert_eq!(observer.look(&[port("a", false, 0), port("b", false, 0)]), [down]);
        assert_eq!(observer.look(&[port("a", false, 0)]), [], "a port that was removed is told of elsewhere");
        assert_eq!(observer.look(&[port("a", true, 0), port("b", true, 0)]), [("a".to_owned(), Happening::PortUp)]);
    }

    #[test]
    fn flapping_is_told_when_it_begins() {
        let mut observer = Observer::default();
        let looks = [5, 9, 20, 20, 21, 0].map(|flaps| observer.look(&[port("a", true, flaps)]));
        let begins = |n| vec![("a".to_owned(), Happening::MacFlapping(n))];
        assert_eq!(looks, [vec![], begins(4), vec![], vec![], begins(1), vec![]]);
    }
}
