//! A configuration before its meaning: a tree of values that know the line they stand on.
//!
//! TOML files and the control socket's JSON both become this tree, so one schema reads both.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and its line (from 1), if it came from a file.
#[derive(Debug)]
pub(super) struct Node {
    pub line: Option<usize>,
    pub value: Value,
}

/// What a configuration can hold. `Other` names a kind that no key takes.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Fraction(f64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Vec<Entry>),
    Other(&'static str),
}

/// One key of a table; `line` is the key's.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub line: Option<usize>,
    pub node: Node,
}

impl Value {
    /// The kind of the value, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Fraction(_) => "a fraction",
            Self::Boolean(_) => "true or false",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// Finds the line of a byte offset.
pub(super) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub fn of(text: &str) -> Self {
        let after_newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// The line, from 1, that holds byte `offset`.
    pub fn at(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }
}

impl Node {
    /// The tree of a TOML document.
    pub fn from_toml(table: &Spanned<DeTable<'_>>, lines: &Lines) -> Self {
        Self { line: Some(lines.at(table.span().start)), value: table_of_toml(table.get_ref(), lines) }
    }

    fn from_toml_value(value: &Spanned<DeValue<'_>>, lines: &Lines) -> Self {
        Self { line: Some(lines.at(value.span().start)), value: value_of_toml(value.get_ref(), lines) }
    }

    /// The tree of a JSON document. A key that is null counts as absent.
    pub fn from_json(json: &serde_json::Value) -> Self {
        Self { line: None, value: value_of_json(json) }
    }
}

fn value_of_toml(value: &DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Other("an integer beyond 64 bits"),
        },
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| Node::from_toml_value(item, lines)).collect()),
        DeValue::Table(table) => table_of_toml(table, lines),
        DeValue::Float(fraction) => fraction.as_str().parse().map_or(Value::Other("a fraction"), Value::Fraction),
        DeValue::Datetime(_) => Value::Other("a date"),
    }
}

fn table_of_toml(table: &DeTable<'_>, lines: &Lines) -> Value {
    let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| Entry {
        key: key.get_ref().to_string(),
        line: Some(lines.at(key.span().start)),
        node: Node::from_toml_value(value, lines),
    };
    Value::Table(table.iter().map(entry).collect())
}

fn value_of_json(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Other("null"),
        Json::Bool(boolean) => Value::Boolean(*boolean),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(fraction)) if number.is_f64() => Value::Fraction(fraction),
            _ => Value::Other("an integer beyond 64 bits"),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(Node::from_json).collect()),
        Json::Object(fields) => {
            let present = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Table(
                present
                    .map(|(key, value)| Entry { key: key.clone(), line: None, node: Node::from_json(value) })
                    .collect(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_from_offsets() {
        let lines = Lines::of("a\nbc\n\nd");
        let found: Vec<usize> = (0..=7).map(|offset| lines.at(offset)).collect();
        assert_eq!(found, [1, 1, 2, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn toml_values_know_their_lines() {
        let text = "a = 0x1_0\n\n[[t]]\nb = [\n  true,\n  1.5,\n]\n";
        let tree = Node::from_toml(&DeTable::parse(text).unwrap(), &Lines::of(text));
        let Value::Table(top) = tree.value else { panic!("a document is a table") };
        assert!(matches!(top[0].node.value, Value::Integer(16)));
        let Value::Array(tables) = &top[1].node.value else { panic!("[[t]] is a list") };
        assert_eq!(tables[0].line, Some(3));
        let Value::Table(t) = &tables[0].value else { panic!("of tables") };
        let Value::Array(b) = &t[0].node.value else { panic!("b is a list") };
        assert_eq!((t[0].line, b[0].line, b[1].line), (Some(4), Some(5), Some(6)));
        assert_eq!(b[1].value.kind(), "a fraction");
    }

    #[test]
    fn json_null_is_absent() {
        let tree = Node::from_json(&serde_json::json!({"a": null, "b": 1.5, "c": 2}));
        let Value::Table(top) = tree.value else { panic!("an object is a table") };
        assert_eq!(top.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(top[0].node.value.kind(), "a fraction");
    }
}
