//! Reads a table key by key and collects everything that is wrong with it instead of stopping at the first.
//!
//! A schema asks for each key it knows (`value`, `list`, `tables`, ...) and then calls `finish`, which reports the
//! keys nobody asked for. What was asked for is thereby the list of known keys; it is written nowhere else.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::node::{Entry, Node, Value};
use super::value::Invalid;
use super::{Problem, Report};

/// What checks that come after reading need to know about a table's keys. `""` is the table itself.
pub(super) type Keys = HashMap<&'static str, Key>;

/// Where a key stands, and whether its value had a problem of its own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Key {
    pub line: Option<usize>,
    pub flawed: bool,
}

impl Key {
    fn at(line: Option<usize>) -> Self {
        Self { line, flawed: false }
    }
}

/// One table while it is read.
pub(super) struct Fields<'a> {
    owner: String,
    entries: &'a [Entry],
    known: Vec<&'static str>,
    keys: Keys,
    problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// Starts reading `node`; `owner` names it in messages. Anything but a table is reported, and read as an empty one.
    pub fn new(owner: impl Into<String>, node: &'a Node) -> Self {
        let mut fields = Self {
            owner: owner.into(),
            entries: &[],
            known: Vec::new(),
            keys: Keys::from([("", Key::at(node.line))]),
            problems: Vec::new(),
        };
        match &node.value {
            Value::Table(entries) => fields.entries = entries,
            other => {
                fields.problem(node.line, Invalid::new(format!("is {}", other.kind()), "a table of keys and values"))
            }
        }
        fields
    }

    /// Reads the name of what this table describes, and names it so in messages from here on.
    pub fn name(&mut self, kind: &str) -> String {
        let text = self.take("name").and_then(|entry| text(&entry.node.value).ok()).unwrap_or_default();
        if !text.is_empty() {
            self.owner = format!("{kind} \"{text}\"");
        }
        self.required("name", name);
        text
    }

    /// Reads one key; absent or wrong (and then reported) gives `None`.
    pub fn value<T>(&mut self, key: &'static str, read: impl Fn(&Value) -> Result<T, Invalid>) -> Option<T> {
        let entry = self.take(key)?;
        match read(&entry.node.value) {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.key_problem(key, entry.line, invalid);
                None
            }
        }
    }

    /// Like `value`, and absence is reported too.
    pub fn required<T>(&mut self, key: &'static str, read: impl Fn(&Value) -> Result<T, Invalid>) -> Option<T> {
        if self.take(key).is_none() {
            let table = self.line("");
            self.problem(table, Invalid::new(format!("has no {key}"), format!("add {key} = ...")));
        }
        self.value(key, read)
    }

    /// Reads a list, item by item, each wrong one reported with its own line.
    pub fn list<T>(&mut self, key: &'static str, read: impl Fn(&Value) -> Result<T, Invalid>) -> Vec<T> {
        let mut list = Vec::new();
        for item in self.items(key) {
            match read(&item.value) {
                Ok(value) => list.push(value),
                Err(invalid) => self.key_problem(key, item.line, invalid),
            }
        }
        list
    }

    /// The items of a list of tables, each to be read by its own `Fields`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Fields<'a>> {
        let items = self.items(key);
        items.iter().enumerate().map(|(at, item)| Fields::new(self.inner(&format!("{key} {}", at + 1)), item)).collect()
    }

    /// A table inside this one, if the key is there.
    pub fn table(&mut self, key: &'static str) -> Option<Fields<'a>> {
        let entry = self.take(key)?;
        Some(Fields::new(self.inner(key), &entry.node))
    }

    /// Whether the key holds a table.
    pub fn is_table(&self, key: &str) -> bool {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.is_some_and(|entry| matches!(entry.node.value, Value::Table(_)))
    }

    /// Whether the key says `false`, where it could hold a table.
    pub fn is_false(&mut self, key: &'static str) -> bool {
        self.take(key).is_some_and(|entry| matches!(entry.node.value, Value::Boolean(false)))
    }

    /// Reports keys that exist in the design but not yet in this version.
    pub fn later(&mut self, keys: &[&'static str]) {
        for entry in self.entries.iter().filter(|entry| keys.contains(&entry.key.as_str())) {
            self.key_problem(&entry.key, entry.line, Invalid::new("not in this version", "leave it out"));
        }
        self.keys.extend(keys.iter().map(|key| (*key, Key::default())));
    }

    /// Whether the key is there, right or wrong.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Reports something that is wrong with `key` as a whole.
    pub fn reject(&mut self, key: &'static str, invalid: Invalid) {
        self.key_problem(key, self.line(key), invalid);
    }

    /// Reports something that is wrong with the table as a whole.
    pub fn lack(&mut self, invalid: Invalid) {
        self.problem(self.line(""), invalid);
    }

    /// Hands over what was found, unknown keys included, and tells where the keys stand.
    pub fn finish(mut self, report: &mut Report) -> Keys {
        for entry in self.entries.iter().filter(|entry| !self.keys.contains_key(entry.key.as_str())) {
            let invalid = Invalid::new(format!("unknown key \"{}\"", entry.key), self.nearest(&entry.key));
            self.problems.push(Problem::new(entry.line, self.inner(&invalid.what), invalid.hint));
        }
        report.problems.append(&mut self.problems);
        self.keys
    }

    fn nearest(&self, key: &str) -> String {
        let nearest = self.known.iter().min_by_key(|known| strsim::damerau_levenshtein(key, known));
        let known = self.known.join(", ");
        nearest.map_or_else(String::new, |nearest| format!("did you mean \"{nearest}\"? Known here: {known}"))
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Entry> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let entry = self.entries.iter().find(|entry| entry.key == key);
        self.keys.entry(key).or_insert(Key::at(entry.and_then(|entry| entry.line)));
        entry
    }

    fn items(&mut self, key: &'static str) -> &'a [Node] {
        match self.take(key) {
            Some(Entry { node: Node { value: Value::Array(items), .. }, .. }) => items,
            Some(entry) => {
                let what = format!("is {} where a list belongs", entry.node.value.kind());
                self.key_problem(
                    key,
                    entry.line,
                    Invalid::new(what, format!("{key} = [...], or [[{key}]] for tables")),
                );
                &[]
            }
            None => &[],
        }
    }

    fn line(&self, key: &str) -> Option<usize> {
        self.keys.get(key).and_then(|key| key.line)
    }

    fn inner(&self, name: &str) -> String {
        if self.owner.is_empty() { name.to_owned() } else { format!("{}: {name}", self.owner) }
    }

    fn key_problem(&mut self, key: &str, line: Option<usize>, invalid: Invalid) {
        if let Some(key) = self.keys.get_mut(key) {
            key.flawed = true;
        }
        let what = format!("{}: {}", self.inner(key), invalid.what);
        self.problems.push(Problem::new(line, what, invalid.hint));
    }

    fn problem(&mut self, line: Option<usize>, invalid: Invalid) {
        self.problems.push(Problem::new(line, format!("{} {}", self.owner, invalid.what), invalid.hint));
    }
}

/// A string.
pub(super) fn text(value: &Value) -> Result<String, Invalid> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        other => Err(wrong_kind(other, "a string in double quotes")),
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Result<bool, Invalid> {
    match value {
        Value::Boolean(boolean) => Ok(*boolean),
        other => Err(wrong_kind(other, "true or false, without quotes")),
    }
}

/// An integer of `range`; `unit` completes the hint.
pub(super) fn integer<T>(range: RangeInclusive<T>, unit: &str) -> impl Fn(&Value) -> Result<T, Invalid>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    move |value| {
        let hint = || format!("{} to {} {unit}", range.start(), range.end()).trim_end().to_owned();
        match value {
            Value::Integer(integer) => T::try_from(*integer)
                .ok()
                .filter(|integer| range.contains(integer))
                .ok_or_else(|| Invalid::new(format!("{integer} is out of range"), hint())),
            other => Err(wrong_kind(other, &hint())),
        }
    }
}

/// A string with a syntax of its own.
pub(super) fn parsed<T: FromStr<Err = Invalid>>(value: &Value) -> Result<T, Invalid> {
    text(value)?.parse()
}

/// The name of a port or domain: it appears in commands, paths and metrics, so its letters are restricted.
pub(super) fn name(value: &Value) -> Result<String, Invalid> {
    let name = text(value)?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if name.is_empty() || name.len() > 64 || !plain || name.starts_with(['-', '.']) {
        let hint = "1 to 64 letters, digits, \"_\", \".\" or \"-\", starting with neither \".\" nor \"-\"";
        return Err(Invalid::new(format!("\"{name}\" is not a usable name"), hint));
    }
    Ok(name)
}

fn wrong_kind(value: &Value, hint: &str) -> Invalid {
    Invalid::new(format!("has the wrong type: {}", value.kind()), hint)
}
