//! Why the switch refused something, for people and for the control socket.

use crossdock_engine::switch::Error;

use crate::config::Report;

/// A sentence, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// Whose fault it is.
    pub kind: Kind,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for makes no sense.
    Invalid,
    /// It names something that does not exist.
    Unknown,
    /// It contradicts what there is.
    Conflict,
    /// The kernel or the machine would not.
    Failed,
}

impl Refusal {
    /// The same, of a port.
    pub(super) fn of_port(self, name: &str) -> Self {
        Self { what: format!("port {name}: {}", self.what), ..self }
    }

    pub(crate) fn new(kind: Kind, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: Some(hint.into()) }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (kind, hint) = match &error {
            Error::Exists(_) => (Kind::Conflict, Some("take another name, or remove that one first")),
            Error::Unknown(_) => {
                (Kind::Unknown, Some("\"xdock show ports\" and \"xdock show domains\" list what there is"))
            }
            Error::InUse(_) => (Kind::Conflict, Some("remove its ports first")),
            Error::Full(_) => (Kind::Conflict, None),
            Error::FdbFull(_) => (Kind::Conflict, Some("a larger fdb_max, or fewer static entries")),
            Error::TooLong(_) => (Kind::Invalid, None),
            Error::Open(..) | Error::Memory(_) | Error::Stopped => (Kind::Failed, None),
        };
        Self { kind, what: error.to_string(), hint: hint.map(str::to_owned) }
    }
}

impl From<Report> for Refusal {
    fn from(report: Report) -> Self {
        let hints: Vec<&str> = report.problems.iter().map(|problem| problem.hint.as_str()).collect();
        Self { kind: Kind::Invalid, what: report.to_string(), hint: Some(hints.join("; ")) }
    }
}
