//! JSON on many lines, from JSON on one: what the switch said, whatever it is, in the order in which it said it.

use std::io::{self, Write};

/// Spaces for each level.
const INDENT: usize = 2;

/// Writes JSON with a line for each value, as `serde_json` does, and one more line end. It must be well-formed.
pub fn write(json: &str, out: &mut impl Write) -> io::Result<()> {
    let (mut rest, mut depth) = (json.trim(), 0);
    while let Some(mark) = rest.chars().next() {
        let end = if mark == '"' { string_end(rest) } else { mark.len_utf8() };
        let (token, after) = rest.split_at(end);
        rest = after.trim_start();
        match mark {
            '{' | '[' if rest.starts_with(['}', ']']) => {
                write!(out, "{token}{}", &rest[..1])?;
                rest = rest[1..].trim_start();
            }
            '{' | '[' => {
                depth += 1;
                out.write_all(token.as_bytes())?;
                line(out, depth)?;
            }
            '}' | ']' => {
                depth -= usize::from(depth > 0);
                line(out, depth)?;
                out.write_all(token.as_bytes())?;
            }
            ',' => {
                out.write_all(b",")?;
                line(out, depth)?;
            }
            ':' => out.write_all(b": ")?,
            _ => out.write_all(token.as_bytes())?,
        }
    }
    writeln!(out)
}

fn line(out: &mut impl Write, depth: usize) -> io::Result<()> {
    write!(out, "\n{:width$}", "", width = depth * INDENT)
}

/// Where a string ends that begins with its quote.
fn string_end(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().enumerate().skip(1).find(|&(_, byte)| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(|b| json!(b)),
            any::<i64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            "\\PC*|[\\\\\"{}\\[\\],: \n]*".prop_map(|s| json!(s)),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..5).prop_map(|list| json!(list));
            let map = prop::collection::btree_map("[a-z\"\\\\]{0,3}", inner, 0..5).prop_map(|map| json!(map));
            prop_oneof![list, map]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_serde_writes(value in values(), loose in any::<bool>()) {
            let json = if loose { format!(" {value:#} \n") } else { value.to_string() };
            let mut out = Vec::new();
            write(&json, &mut out).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{value:#}\n"));
        }
    }
}
