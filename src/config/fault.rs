//! The faults of a port: `fault = { drop = 0.01, delay_ms = 5 }`, as text `drop=0.01,delay_ms=5`.

use std::fmt::Display;
use std::str::FromStr;

use crossdock_engine::ports::fault::Probability;
use serde::{Serialize, Serializer};

use super::Report;
use super::fields::{Fields, integer, text};
use super::node::Value;
use super::value::Invalid;

/// A share from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share(pub Probability);

/// What befalls the frames of a port. Absent keys are 0: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Share of frames that are lost.
    #[serde(skip_serializing_if = "is_default")]
    pub drop: Share,
    /// Share of frames that come twice.
    #[serde(skip_serializing_if = "is_default")]
    pub duplicate: Share,
    /// Share of frames that swap places with the next one.
    #[serde(skip_serializing_if = "is_default")]
    pub reorder: Share,
    /// Share of frames of which one bit is turned.
    #[serde(skip_serializing_if = "is_default")]
    pub corrupt: Share,
    /// How long every frame travels, in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub delay_ms: u32,
    /// Megabits per second that pass; 0 for all.
    #[serde(skip_serializing_if = "is_default")]
    pub rate_mbit: u32,
    /// What the choices are drawn from.
    #[serde(skip_serializing_if = "is_default")]
    pub seed: u32,
    /// Which frames it befalls.
    #[serde(skip_serializing_if = "is_default")]
    pub direction: Direction,
}

/// Which frames faults befall.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Those that come in, and those that go out.
    #[default]
    Both,
    /// Those that come in from the port.
    In,
    /// Those that go out by it.
    Out,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Fault {
    /// Whether it befalls any frame at all.
    pub(super) fn befalls(&self) -> bool {
        let Self { seed, direction, .. } = *self;
        *self != Self { seed, direction, ..Self::default() }
    }

    /// Reads the keys of `fault`.
    pub(super) fn read(mut fields: Fields<'_>, report: &mut Report) -> Self {
        let fault = Self {
            drop: fields.value("drop", share).unwrap_or_default(),
            duplicate: fields.value("duplicate", share).unwrap_or_default(),
            reorder: fields.value("reorder", share).unwrap_or_default(),
            corrupt: fields.value("corrupt", share).unwrap_or_default(),
            delay_ms: fields.value("delay_ms", integer(0..=10_000, "milliseconds")).unwrap_or_default(),
            rate_mbit: fields.value("rate_mbit", integer(1..=100_000, "megabits per second")).unwrap_or_default(),
            seed: fields.value("seed", integer(0..=u32::MAX, "")).unwrap_or_default(),
            direction: fields.value("direction", |value| text(value)?.parse()).unwrap_or_default(),
        };
        fields.finish(report);
        fault
    }
}

/// A share in text or as a number.
fn share(value: &Value) -> Result<Share, Invalid> {
    match value {
        Value::Fraction(share) => Share::new(*share),
        Value::Integer(share) => Share::new(*share as f64),
        _ => text(value)?.parse(),
    }
}

impl Share {
    fn new(share: f64) -> Result<Self, Invalid> {
        Probability::new(share).map(Self).ok_or_else(|| not_a_share(&share))
    }
}

fn not_a_share(value: &dyn Display) -> Invalid {
    Invalid::new(format!("{value} is no share of frames"), "0 to 1, like 0.01 for one frame in a hundred")
}

impl FromStr for Share {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::new(text.parse().map_err(|_| not_a_share(&format!("\"{text}\"")))?)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.share())
    }
}

impl FromStr for Direction {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "both" => Ok(Self::Both),
            "in" => Ok(Self::In),
            "out" => Ok(Self::Out),
            _ => Err(Invalid::new(format!("unknown direction \"{text}\""), "\"in\", \"out\" or \"both\"")),
        }
    }
}
