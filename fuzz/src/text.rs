//! What people write: configurations, and header fields on the command line.

use crossdock::config::{Config, DomainConfig, PortConfig, Report};
use crossdock::packet::fields::Fields;
use crossdock_engine::wire::Mac;

/// No text makes the configuration panic. What is wrong has a line of the text; what is right survives being written as
/// JSON and read again, as over the control socket.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Config::parse(&text, &[0, 1]) {
        Ok(config) => survives_json(&config),
        Err(report) => has_lines(&report, text.lines().count().max(1)),
    }
}

fn survives_json(config: &Config) {
    for port in &config.port {
        let json = serde_json::to_value(port).unwrap_or_default();
        assert_eq!(PortConfig::from_json(&json).as_ref(), Ok(port), "{json}");
    }
    for domain in &config.domain {
        let json = serde_json::to_value(domain).unwrap_or_default();
        assert_eq!(DomainConfig::from_json(&json).as_ref(), Ok(domain), "{json}");
    }
}

fn has_lines(report: &Report, lines: usize) {
    assert!(!report.problems.is_empty(), "refused without a reason");
    for problem in &report.problems {
        assert!(!problem.what.is_empty() && !problem.hint.is_empty(), "{problem:?}");
        // Of keys and tables too deep inside each other the TOML reader does not say where they are.
        let placed = problem.line.map_or(problem.what == "recursion limit", |line| (1..=lines + 1).contains(&line));
        assert!(placed, "{problem:?} in {lines} lines");
    }
}

/// No words make the fields panic; a frame that is built of them has them.
pub fn fields(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(fields) = Fields::parse(text.split_whitespace()) else { return };
    if let Ok(frame) = fields.frame(Mac([2, 0, 0, 0, 0, 9])) {
        assert!(fields.pick(&frame, frame.len()), "{fields:?} are not those of {frame:x?}");
    }
}
