//! `xdock doctor`: what this kernel and these privileges allow, and what each missing thing leads to.
//!
//! What can be tried is tried, in a network namespace that belongs to one thread of this command and ends with it, so
//! nothing appears elsewhere and nothing is left. What cannot be tried is read from `/proc` and `/sys`.

mod facts;
mod ports;
mod sys;

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use crate::cli::DoctorArgs;
use crate::failure::Failure;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    name: &'static str,
    state: State,
    /// What there is.
    found: String,
    /// What that means for Crossdock, where something is missing.
    #[serde(skip_serializing_if = "String::is_empty")]
    leads_to: String,
    /// Whether the main job needs it.
    needed: bool,
}

/// How well it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// There, but not all of it.
    Limited,
    /// Not there.
    Missing,
}

impl Check {
    fn ok(name: &'static str, found: impl Display) -> Self {
        Self { name, state: State::Ok, found: found.to_string(), leads_to: String::new(), needed: false }
    }

    fn limited(name: &'static str, found: impl Display, leads_to: &str) -> Self {
        Self { state: State::Limited, leads_to: leads_to.into(), ..Self::ok(name, found) }
    }

    fn missing(name: &'static str, found: impl Display, leads_to: &str) -> Self {
        Self { state: State::Missing, leads_to: leads_to.into(), ..Self::ok(name, found) }
    }

    /// One that was tried.
    fn tried<T: Display, E: Display>(name: &'static str, result: Result<T, E>, leads_to: &str) -> Self {
        match result {
            Ok(found) => Self::ok(name, found),
            Err(error) => Self::missing(name, error, leads_to),
        }
    }

    /// One that the main job needs.
    fn needed(self) -> Self {
        Self { needed: true, ..self }
    }
}

pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let mut checks = facts::privileges();
    checks.extend(ports::all());
    checks.extend(facts::machine(&args.control));
    let works = works(&checks);
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{:#}", json!({"works": works, "checks": checks}))?,
        false => write(&checks, &mut out)?,
    }
    drop(out);
    if works { Ok(()) } else { Err(Failure::new("doctor", "the main job does not work here", first_reason(&checks))) }
}

fn works(checks: &[Check]) -> bool {
    checks.iter().filter(|check| check.needed).all(|check| check.state != State::Missing)
}

/// What to mend first.
fn first_reason(checks: &[Check]) -> Option<String> {
    let reason = checks.iter().find(|check| check.needed && check.state == State::Missing)?;
    Some(format!("{}: {}; {}", reason.name, reason.found, reason.leads_to))
}

fn write(checks: &[Check], out: &mut impl Write) -> io::Result<()> {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for Check { name, state, found, leads_to, .. } in checks {
        let state = match state {
            State::Ok => "ok",
            State::Limited => "limited",
            State::Missing => "missing",
        };
        writeln!(out, "{state:<7}  {name:<width$}  {found}")?;
        if !leads_to.is_empty() {
            writeln!(out, "{:7}  {:width$}  -> {leads_to}", "", "")?;
        }
    }
    if works(checks) {
        writeln!(out, "\nThe main job works here: switching between TAP ports in namespaces.")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_decides() {
        let nice = Check::missing("AF_XDP", "no", "slower");
        let needed = Check::ok("TAP", "there").needed();
        assert!(works(&[nice.clone(), needed.clone()]));
        let gone = Check::tried("TAP", Err::<&str, _>("no such device"), "no ports at all").needed();
        assert!(!works(&[needed, gone.clone()]));
        assert_eq!(first_reason(&[nice, gone]).unwrap(), "TAP: no such device; no ports at all");
    }
}
