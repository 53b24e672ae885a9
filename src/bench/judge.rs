//! Whether a build is as good as the one that was recorded.
//!
//! A figure says as much of the machine as of the build. So ratios are recorded, each of two figures of one run: of ours and the
//! kernel's, or of two of ours. More is better in all of them. One that falls below half of what is recorded is no wobble.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The part of a recorded ratio below which one is low.
pub const FLOOR: f64 = 0.5;

/// Ratios by name.
pub type Ratios = BTreeMap<String, f64>;

/// What was measured once, and on which machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Kernel and processors.
    pub machine: String,
    /// More is better.
    pub ratios: Ratios,
}

impl Record {
    /// Reads TOML.
    ///
    /// # Errors
    /// It is none, or has other keys.
    pub fn read(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Writes TOML, with three digits behind the point.
    ///
    /// # Errors
    /// None that is known.
    pub fn write(&self) -> Result<String, toml::ser::Error> {
        let ratios = self.ratios.iter().map(|(name, ratio)| (name.clone(), (ratio * 1e3).round() / 1e3)).collect();
        toml::to_string(&Self { ratios, ..self.clone() })
    }

    /// Compares with what was measured now.
    #[must_use]
    pub fn judge(&self, measured: &Ratios) -> Vec<Finding> {
        let mut names: Vec<&String> = self.ratios.keys().chain(measured.keys()).collect();
        names.sort();
        names.dedup();
        names.into_iter().map(|name| Finding::of(name, self.ratios.get(name), measured.get(name))).collect()
    }
}

/// What is to be said of one ratio.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Of which.
    pub name: String,
    /// What is recorded of it.
    pub recorded: Option<f64>,
    /// What it is now.
    pub measured: Option<f64>,
    /// What that means.
    pub verdict: Verdict,
}

/// What a ratio means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is at least half of what is recorded.
    Good,
    /// It is less, or no number.
    Low,
    /// It is recorded, and was not measured.
    Missing,
    /// It was measured, and is not recorded.
    New,
}

impl Finding {
    fn of(name: &str, recorded: Option<&f64>, measured: Option<&f64>) -> Self {
        let verdict = match (recorded, measured) {
            (Some(recorded), Some(measured)) if *measured >= FLOOR * recorded => Verdict::Good,
            (Some(_), Some(_)) => Verdict::Low,
            (Some(_), None) => Verdict::Missing,
            (None, _) => Verdict::New,
        };
        Self { name: name.to_owned(), recorded: recorded.copied(), measured: measured.copied(), verdict }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Good => "good",
            Self::Low => "below half of what is recorded",
            Self::Missing => "not measured",
            Self::New => "not recorded",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratios(all: &[(&str, f64)]) -> Ratios {
        all.iter().map(|(name, ratio)| ((*name).to_owned(), *ratio)).collect()
    }

    fn record() -> Record {
        Record { machine: "two cores".into(), ratios: ratios(&[("TCP: ours / bridge", 0.8), ("idle ports", 1.0)]) }
    }

    fn verdicts(measured: &[(&str, f64)]) -> Vec<Verdict> {
        record().judge(&ratios(measured)).into_iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn a_wobble_is_no_fault() {
        for wobble in [0.5, 0.7, 1.0, 1.4] {
            let measured = [("TCP: ours / bridge", 0.8 * wobble), ("idle ports", wobble)];
            assert_eq!(verdicts(&measured), [Verdict::Good; 2], "{wobble}");
        }
    }

    #[test]
    fn a_build_that_is_slower_by_more_than_half_is_caught() {
        assert_eq!(verdicts(&[("TCP: ours / bridge", 0.39), ("idle ports", 1.0)]), [Verdict::Low, Verdict::Good]);
        assert_eq!(verdicts(&[("TCP: ours / bridge", 0.8), ("idle ports", f64::NAN)]), [Verdict::Good, Verdict::Low]);
        assert_eq!(verdicts(&[("TCP: ours / bridge", 0.8), ("idle ports", 0.0)]), [Verdict::Good, Verdict::Low]);
    }

    #[test]
    fn what_is_not_measured_or_not_recorded_is_told() {
        assert_eq!(verdicts(&[("idle ports", 1.0)]), [Verdict::Missing, Verdict::Good]);
        let measured = [("TCP: ours / bridge", 0.8), ("idle ports", 1.0), ("new", 1.0)];
        assert_eq!(verdicts(&measured), [Verdict::Good, Verdict::Good, Verdict::New]);
    }

    #[test]
    fn what_is_written_is_read() {
        let written = Record { ratios: ratios(&[("a, b: c / d", 0.123_456)]), ..record() }.write().unwrap();
        let read = Record::read(&written).unwrap();
        assert_eq!(read, Record { ratios: ratios(&[("a, b: c / d", 0.123)]), ..record() });
        assert!(Record::read("machine = \"\"\nratio = {}\n").is_err());
    }
}
