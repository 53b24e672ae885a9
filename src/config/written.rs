//! A configuration as a file: what runs, in TOML that `xdock run -c` takes.

use std::fmt::Write;

use serde_json::{Map, Value as Json, json};

use super::{DomainConfig, EngineConfig, PortConfig};

/// The file that gives a configuration, from the JSON that [`Config`](super::Config) serialises to. A key that says the default is left
/// out.
#[must_use]
pub fn to_toml(config: &Json) -> String {
    let mut file = String::new();
    let engine = differing(&config["engine"], &json!(EngineConfig::default()), &[]);
    if !engine.is_empty() {
        table(&mut file, "[engine]", &engine);
    }
    for domain in list(config, "domain") {
        let usual = json!(DomainConfig::new(text(domain, "name")));
        table(&mut file, "[[domain]]", &differing(domain, &usual, &["name"]));
    }
    for port in list(config, "port") {
        let usual = json!(PortConfig::new(text(port, "name"), text(port, "domain")));
        table(&mut file, "[[port]]", &differing(port, &usual, &["name", "domain"]));
    }
    file
}

fn list<'a>(config: &'a Json, key: &str) -> impl Iterator<Item = &'a Json> {
    config[key].as_array().into_iter().flatten()
}

fn text(table: &Json, key: &str) -> String {
    table[key].as_str().unwrap_or_default().to_owned()
}

/// The keys in which a table differs from the usual one, after those that it always has.
fn differing(table: &Json, usual: &Json, always: &[&str]) -> Vec<(String, Json)> {
    let first = always.iter().map(|key| ((*key).to_owned(), table[*key].clone()));
    let keys = table.as_object().into_iter().flatten();
    let others = keys.filter(|(key, value)| !always.contains(&key.as_str()) && usual.get(key) != Some(value));
    first.chain(others.map(|(key, value)| (key.clone(), value.clone()))).filter(|(_, value)| !is_empty(value)).collect()
}

/// Whether a value is as good as an absent key.
fn is_empty(value: &Json) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
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
