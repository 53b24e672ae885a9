//! A reload: the configuration file is read again, and only what differs from what runs is done.

use tracing::{error, info, warn};

use super::{Kind, Refusal, Service, keeper, locked};
use crate::config::difference::{Action, Difference, Item, ItemKind, Purpose, Step};
use crate::config::{self, LoadError, PortConfig, Problem, Report};
use crate::control::api::{ProblemInfo, ReloadFailure, Reloaded, ReloadedItem};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The switch was not started from a file.
    #[error("the switch was started without a configuration file")]
    NoFile,
    /// The file is of no use.
    #[error("{0}")]
    File(#[from] LoadError),
}

impl ReloadError {
    /// Each thing that is wrong with the file.
    #[must_use]
    pub fn problems(&self) -> Vec<ProblemInfo> {
        let Self::File(LoadError::Invalid { path, report }) = self else { return Vec::new() };
        let file = path.display();
        let place = |line: Option<usize>| line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}"));
        let info = |p: &Problem| ProblemInfo { place: place(p.line), error: p.what.clone(), hint: p.hint.clone() };
        report.problems.iter().map(info).collect()
    }
}

impl From<ReloadError> for Refusal {
    fn from(error: ReloadError) -> Self {
        let (kind, hint) = match &error {
            ReloadError::NoFile => (Kind::Conflict, "start it with \"xdock run -c FILE\""),
            _ => (Kind::Invalid, "nothing was changed; \"xdock check -c FILE\" says the same without a switch"),
        };
        Self::new(kind, error.to_string(), hint)
    }
}

impl Service {
    /// Reads the configuration file again and does what has changed in it. Ports and domains that were added by hand and
    /// are not in the file go.
    ///
    /// # Errors
    /// There is no file, or something is wrong with it; then nothing is changed.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        let _alone = locked(&self.reloading);
        let done = self.reload_alone();
        match &done {
            Ok(done) => tell(done),
            Err(error) => error!(%error, "reload refused, nothing changed"),
        }
        done
    }

    fn reload_alone(&self) -> Result<Reloaded, ReloadError> {
        let file = self.source.clone().ok_or(ReloadError::NoFile)?;
        let wanted = config::load(&file)?;
        let gone = self
            .roster()
            .absent()
            .filter(|entry| can_be_made(&entry.config))
            .map(|entry| entry.config.name.clone())
            .collect();
        let difference = Difference::between(&self.running_config(), &gone, &wanted);
        let problems: Vec<_> = difference.steps.iter().filter_map(|step| missing_namespace(&step.action)).collect();
        if !problems.is_empty() {
            return Err(LoadError::Invalid { path: file, report: Report { problems } }.into());
        }
        wanted.waiting().iter().for_each(|waiting| warn!("{waiting}"));
        Ok(Reloaded { file: file.display().to_string(), ..self.go(difference) })
    }

    /// Does every step; one that fails does not keep the others from being done.
    fn go(&self, difference: Difference) -> Reloaded {
        let unchanged = difference.unchanged.iter().map(|item| info_of(item, &[])).collect();
        let mut done = Reloaded { restart: difference.restart, unchanged, ..Reloaded::default() };
        for steps in difference.steps.chunk_by(|a, b| a.action.turn() == b.action.turn()) {
            for (step, result) in steps.iter().zip(self.perform(steps)) {
                match result {
                    Ok(()) => note(&mut done, step),
                    Err(refusal) => done.failed.push(failure(&step.item, refusal)),
                }
            }
        }
        done
    }

    /// Does steps of one kind: ports are made and removed side by side.
    fn perform(&self, steps: &[Step]) -> Vec<Result<(), Refusal>> {
        match steps {
            [Step { action: Action::AddPort(_), .. }, ..] => {
                self.make_ports(&steps.iter().filter_map(wanted).collect::<Vec<_>>())
            }
            [Step { action: Action::RemovePort, .. }, ..] => {
                let names: Vec<&str> = steps.iter().map(|step| step.item.name.as_str()).collect();
                let removed = self.unmake_ports(&names);
                steps.iter().map(|_| removed.clone()).collect()
            }
            _ => steps.iter().map(|step| self.perform_alone(step)).collect(),
        }
    }

    fn perform_alone(&self, step: &Step) -> Result<(), Refusal> {
        match &step.action {
            Action::ChangePort(port) => self.change_port(port),
            Action::RemoveDomain => self.unmake_domain(&step.item.name),
            Action::AddDomain(domain) => self.make_domain(domain),
            Action::ChangeDomain(domain) => self.change_domain(domain),
            Action::AddPort(_) | Action::RemovePort => Ok(()),
        }
    }
}

/// The port that a step makes.
fn wanted(step: &Step) -> Option<&PortConfig> {
    match &step.action {
        Action::AddPort(port) => Some(port),
        _ => None,
    }
}

/// Whether a port that is gone can be made anew. Until it can, it is left as it is.
fn can_be_made(port: &PortConfig) -> bool {
    keeper::missing_namespace(port).is_none()
}

/// What is wrong with the namespace of a port that is to be made, and what would be right.
fn missing_namespace(action: &Action) -> Option<Problem> {
    let Action::AddPort(port) = action else { return None };
    let path = port.netns_path().filter(|path| !path.exists())?;
    let name = port.netns.as_deref().unwrap_or_default();
    let hint = if name.contains('/') { "a path like /proc/PID/ns/net".into() } else { format!("ip netns add {name}") };
    let what = format!("port \"{}\": netns: {} does not exist", port.name, path.display());
    Some(Problem { line: None, what, hint })
}

/// Writes a step that was done to the account. Of a port that is made anew, the second step counts.
fn note(done: &mut Reloaded, step: &Step) {
    let item = &step.item;
    match &step.purpose {
        Purpose::Added => done.added.push(info_of(item, &[])),
        Purpose::Removed => done.removed.push(info_of(item, &[])),
        Purpose::Changed(keys) => done.changed.push(info_of(item, keys)),
        Purpose::Recreated(_) if step.action == Action::RemovePort => {}
        Purpose::Recreated(keys) => done.changed.push(ReloadedItem { recreated: true, ..info_of(item, keys) }),
    }
}

fn info_of(item: &Item, keys: &[String]) -> ReloadedItem {
    ReloadedItem { kind: word(item.kind).into(), name: item.name.clone(), keys: keys.to_vec(), recreated: false }
}

fn failure(item: &Item, refusal: Refusal) -> ReloadFailure {
    ReloadFailure { kind: word(item.kind).into(), name: item.name.clone(), error: refusal.what, hint: refusal.hint }
}

fn word(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Domain => "domain",
        ItemKind::Port => "port",
    }
}

/// Puts a reload into the log.
fn tell(done: &Reloaded) {
    let names = |items: &[ReloadedItem]| items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>().join(",");
    let (added, removed, changed) = (names(&done.added), names(&done.removed), names(&done.changed));
    info!(file = done.file, added, removed, changed, unchanged = done.unchanged.len(), "reloaded");
    if !done.restart.is_empty() {
        warn!(keys = done.restart.join(","), "these keys of [engine] differ and need a restart");
    }
    for failure in &done.failed {
        error!(kind = failure.kind, name = failure.name, error = failure.error, "could not be applied");
    }
}
