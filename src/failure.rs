//! Why a command failed, and how that is told.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;

use crossdock::config::{LoadError, Problem, Report};
use crossdock::control::api::{ProblemInfo, ReloadFailure};
use crossdock::control::client::ClientError;
use crossdock::control::socket::SocketError;
use crossdock::service::Refusal;

/// One or more complaints, and the exit code they end in.
#[derive(Debug)]
pub struct Failure {
    complaints: Vec<Complaint>,
    code: u8,
}

/// `xdock: WHAT: WHY`, and on a line of its own what to do about it.
#[derive(Debug)]
struct Complaint {
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A single complaint.
    pub fn new(what: &str, why: impl ToString, hint: Option<String>) -> Self {
        Self { complaints: vec![Complaint { message: format!("{what}: {}", why.to_string()), hint }], code: 1 }
    }

    /// What is wrong with a file, each with its line.
    pub fn in_file(file: &Path, report: Report) -> Self {
        let place = |line: Option<usize>| match line {
            Some(line) => format!("{}:{line}", file.display()),
            None => file.display().to_string(),
        };
        Self { complaints: report.problems.into_iter().map(|p| Complaint::of(place(p.line), p)).collect(), code: 1 }
    }

    /// What the switch found wrong with a file.
    fn of_problems(problems: &[ProblemInfo]) -> Self {
        let complaint =
            |p: &ProblemInfo| Complaint { message: format!("{}: {}", p.place, p.error), hint: Some(p.hint.clone()) };
        Self { complaints: problems.iter().map(complaint).collect(), code: 1 }
    }

    /// What a reload could not do.
    pub fn in_reload(failed: Vec<ReloadFailure>) -> Self {
        let complaint = |f: ReloadFailure| Complaint { message: format!("reload: {}", f.error), hint: f.hint };
        Self { complaints: failed.into_iter().map(complaint).collect(), code: 1 }
    }

    /// What is wrong with a command's flags.
    pub fn in_flags(command: &str, report: Report) -> Self {
        let complaints = report.problems.into_iter().map(|p| Complaint::of(command.to_owned(), p)).collect();
        Self { complaints, code: 2 }
    }

    /// Prints the complaints and gives the exit code.
    pub fn report(self) -> ExitCode {
        for complaint in self.complaints {
            eprintln!("xdock: {}", complaint.message);
            if let Some(hint) = complaint.hint {
                eprintln!("hint: {hint}");
            }
        }
        ExitCode::from(self.code)
    }
}

impl Complaint {
    fn of(place: String, problem: Problem) -> Self {
        Self { message: format!("{place}: {}", problem.what), hint: Some(problem.hint) }
    }
}

impl From<(&str, ClientError)> for Failure {
    fn from((what, error): (&str, ClientError)) -> Self {
        if let ClientError::Refused(body) = &error
            && !body.problems.is_empty()
        {
            return Self::of_problems(&body.problems);
        }
        let hint = error.hint();
        Self::new(what, error, hint)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unreadable { path, source } => Self::new(&path.display().to_string(), source, None),
            LoadError::Invalid { path, report } => Self::in_file(&path, report),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { complaints: vec![Complaint { message: refusal.what, hint: refusal.hint }], code: 1 }
    }
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        Self::new("control socket", &error, Some(error.hint().into()))
    }
}

/// Writing to standard output failed. A reader that has seen enough (`| head`) is no failure to tell of.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self { complaints: Vec::new(), code: 0 },
            _ => Self::new("cannot write to standard output", error, None),
        }
    }
}
