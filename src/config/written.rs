//! A configuration as a file: what runs, in TOML that `xdock run -c` takes.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::{Config, DomainConfig, EngineConfig, PortConfig};

impl Config {
    /// The file that gives this configuration. A key that says the default is left out.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut file = String::new();
        let engine = differing(&self.engine, &EngineConfig::default(), &[]);
        if !engine.is_empty() {
            table(&mut file, "[engine]", &engine);
        }
        for domain in &self.domain {
            let usual = DomainConfig::new(domain.name.clone());
            table(&mut file, "[[domain]]", &differing(domain, &usual, &["name"]));
        }
        for port in &self.port {
            let usual = PortConfig::new(port.name.clone(), port.domain.clone());
            table(&mut file, "[[port]]", &differing(port, &usual, &["name", "domain"]));
        }
        file
    }
}

/// The keys in which a table differs from the usual one, after those that it always has.
fn differing(table: &impl Serialize, usual: &impl Serialize, always: &[&'static str]) -> Vec<(String, Json)> {
    let (table, usual) = (json!(table), json!(usual));
    let first = always.iter().map(|key| ((*key).to_owned(), table[key].clone()));
    let keys = table.as_object().into_iter().flatten();
    let others = keys.filter(|(key, value)| !always.contains(&key.as_str()) && usual.get(key) != Some(value));
    first.chain(others.map(|(key, value)| (key.clone(), value.clone()))).filter(|(_, value)| !empty(value)).collect()
}

/// Whether a value is as good as an absent key.
fn empty(value: &Json) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn table(file: &mut String, heading: &str, keys: &[(String, Json)]) {
    let gap = if file.is_empty() { "" } else { "\n" };
    // Writing to a string cannot fail.
    let _ = writeln!(file, "{gap}{heading}");
    for (key, value) in keys {
        // Every value of a configuration is one of TOML.
        let value = toml::Value::try_from(value).map(|value| value.to_string()).unwrap_or_default();
        let _ = writeln!(file, "{key} = {value}");
    }
}
