//! Changes of what is there, key by key: `xdock port set`, `domain set` and `fdb`.

use std::sync::PoisonError;

use crossdock_engine::switch;
use crossdock_engine::wire::Mac;
use crossdock_engine::wire::vlan::Vid;
use serde::Serialize;
use serde_json::{Value as Json, json};
use tracing::info;

use super::{Kind, Refusal, Service, locked};
use crate::config::difference::fixed_keys;
use crate::config::{Config, DomainConfig, PortConfig, StaticKey};
use crate::control::api::{FdbChange, FdbFilter};

impl Service {
    /// What runs now, as a configuration.
    #[must_use]
    pub fn running_config(&self) -> Config {
        Config {
            engine: self.engine.clone(),
            domain: locked(&self.domains).values().cloned().collect(),
            port: self.roster().iter().map(|entry| entry.config.clone()).collect(),
        }
    }

    /// Changes keys of an open port, which loses no frame. A key that is null takes its default.
    ///
    /// # Errors
    /// There is no such port, a value makes no sense, or a key cannot change while the port is open.
    pub fn set_port(&self, name: &str, keys: &Json) -> Result<(), Refusal> {
        let mut roster = self.when_settled(&[name]);
        let known = roster.get(name).map(|entry| entry.config.clone());
        let known = known.ok_or_else(|| Refusal::from(switch::Error::Unknown(format!("port {name}"))))?;
        let wanted = PortConfig::from_json(&patched(&known, keys)?)?;
        let fixed = fixed_keys(&known, &wanted);
        if !fixed.is_empty() {
            let what = format!("port {name}: {} cannot change while the port is open", fixed.join(", "));
            let hint = "\"xdock port rm\" and \"port add\", or another file and \"xdock reload\", make it anew";
            return Err(Refusal::new(Kind::Conflict, what, hint));
        }
        self.check_domain(&wanted)?;
        self.change_within(&mut roster, &wanted)?;
        info!(port = name, %keys, "port changed");
        Ok(())
    }

    /// Changes keys of a domain, whose ports work on. A key that is null takes its default.
    ///
    /// # Errors
    /// There is no such domain, or a value makes no sense.
    pub fn set_domain(&self, name: &str, keys: &Json) -> Result<(), Refusal> {
        let mut domains = locked(&self.domains);
        let known = domains.get(name).ok_or_else(|| unknown_domain(name))?;
        let wanted = DomainConfig::from_json(&patched(known, keys)?)?;
        if wanted.name != name {
            let what = format!("domain {name}: its name cannot change");
            return Err(Refusal::new(Kind::Conflict, what, "\"xdock domain add\" makes another"));
        }
        self.change_domain_within(&mut domains, &wanted)?;
        info!(domain = name, %keys, "domain changed");
        Ok(())
    }

    /// Sets an address to a port for good.
    ///
    /// # Errors
    /// There is no such domain or port, the port is in another domain or does not carry the VLAN, or the domain takes no more.
    pub fn set_static(&self, change: &FdbChange) -> Result<(), Refusal> {
        let (key, port) = (key(&change.mac, change.vlan)?, change.port.clone());
        let mut domains = locked(&self.domains);
        let domain = domains.get_mut(&change.domain).ok_or_else(|| unknown_domain(&change.domain))?;
        let status = self.switch.port(&port);
        let status = status.ok_or_else(|| Refusal::from(switch::Error::Unknown(format!("port {port}"))))?;
        if status.domain.as_deref() != Some(&change.domain) {
            let what = format!("port {port} is in domain {}", status.domain.unwrap_or_default());
            return Err(Refusal::new(Kind::Conflict, what, format!("a port of {}", change.domain)));
        }
        if !status.view.vlan.has(key.1) {
            let what = match key.1 {
                Some(vid) => format!("port {port} does not carry VLAN {}", vid.number()),
                None => format!("port {port} has no untagged frames"),
            };
            return Err(Refusal::new(
                Kind::Conflict,
                what,
                "--vlan with a VLAN of the port, or none for untagged frames",
            ));
        }
        let entry = switch::StaticEntry { mac: key.0, vlan: key.1, port: port.clone() };
        self.switch.set_static(&change.domain, &entry)?;
        domain.statics.0.insert(key, port);
        Ok(())
    }

    /// Forgets an address: its static entry if there is one, otherwise what was learned.
    ///
    /// # Errors
    /// There is no such domain or address.
    pub fn forget_address(&self, domain: &str, mac: &str, vlan: Option<u16>) -> Result<(), Refusal> {
        let key = key(mac, vlan)?;
        let mut domains = locked(&self.domains);
        let known = domains.get_mut(domain).ok_or_else(|| unknown_domain(domain))?;
        match self.switch.remove_static(domain, key.0, key.1) {
            Ok(entry) => drop(known.statics.0.remove(&(entry.mac, entry.vlan))),
            Err(switch::Error::Unknown(_)) => self.switch.forget_address(domain, key.0, key.1).map_err(|error| {
                let hint = "\"xdock show fdb\" lists them; one that is in a VLAN needs --vlan";
                Refusal { hint: Some(hint.into()), ..error.into() }
            })?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Forgets learned addresses, of a domain, a port and a VLAN where these are named.
    ///
    /// # Errors
    /// There is no such domain or port, or no such VLAN can be.
    pub fn flush(&self, filter: &FdbFilter) -> Result<(), Refusal> {
        let vlan = filter.vlan.map(vid).transpose()?;
        Ok(self.switch.flush(filter.domain.as_deref(), filter.port.as_deref(), vlan)?)
    }

    /// The roster, when none of these ports is being opened any more.
    pub(super) fn when_settled(&self, names: &[&str]) -> std::sync::MutexGuard<'_, super::roster::Roster> {
        let settled = self.settled.wait_while(self.roster(), |roster| roster.is_opening(names));
        settled.unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown_domain(name: &str) -> Refusal {
    switch::Error::Unknown(format!("domain {name}")).into()
}

/// What there is, with some keys changed.
fn patched(known: &impl Serialize, keys: &Json) -> Result<Json, Refusal> {
    let wrong = || Refusal::new(Kind::Invalid, "the body is no object", "an object of the keys that change");
    let mut json = json!(known);
    for (key, value) in keys.as_object().ok_or_else(wrong)? {
        json[key] = value.clone();
    }
    Ok(json)
}

fn key(mac: &str, vlan: Option<u16>) -> Result<StaticKey, Refusal> {
    let mac: Mac = crate::config::address(mac)
        .map_err(|invalid| Refusal::new(Kind::Invalid, format!("mac: {}", invalid.what), invalid.hint))?;
    Ok((mac, vlan.map(vid).transpose()?))
}

fn vid(number: u16) -> Result<Vid, Refusal> {
    let wrong = || Refusal::new(Kind::Invalid, format!("vlan: {number} is out of range"), "1 to 4094");
    Vid::new(number).ok_or_else(wrong)
}
