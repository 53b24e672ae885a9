//! Traces in the shapes of the control socket.

use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::{PortId, Verdict};
use crossdock_engine::frame::Offload;
use crossdock_engine::trace::{Caching, Departure, Note, Step, Trace};
use crossdock_engine::wire::Mac;

use super::{Kind, Refusal, Service, view};
use crate::control::api::trace::{CachedInfo, DepartureInfo, EditInfo, LossInfo, StageInfo, TraceInfo, TraceRequest};
use crate::packet::fields::Fields;
use crate::packet::summary::summary;

/// The source of a frame that does not say, at a port whose own address is not known.
const ANYBODY: Mac = Mac([2, 0, 0, 0, 0, 1]);

impl Service {
    /// What would happen to a frame. Nothing is sent, learned, cached or counted.
    ///
    /// # Errors
    /// There is no such port, or the request does not describe a frame.
    pub fn trace(&self, request: &TraceRequest) -> Result<TraceInfo, Refusal> {
        let frame = self.describe(request)?;
        let told = summary(&frame, frame.len());
        let trace = self.switch.trace(&request.port, frame, Offload::default())?;
        Ok(self.trace_info(request.port.clone(), told, trace))
    }

    fn describe(&self, request: &TraceRequest) -> Result<Vec<u8>, Refusal> {
        match &request.hex {
            Some(_) if !request.fields.is_empty() => Err(invalid("both hex and fields", "name one of them")),
            Some(hex) => {
                unhex(hex).ok_or_else(|| invalid("hex is not bytes in hexadecimal", "like 0200000000010200..."))
            }
            None => self.build(request),
        }
    }

    fn build(&self, request: &TraceRequest) -> Result<Vec<u8>, Refusal> {
        let own = self.switch.port(&request.port).and_then(|port| port.caps.mac);
        let fields = Fields::parse(request.fields.iter().map(String::as_str));
        let frame = fields.and_then(|fields| fields.frame(own.unwrap_or(ANYBODY)));
        frame.map_err(|error| invalid(error, "like src=02:00:00:00:00:01 dst=02:00:00:00:00:02 proto=udp dport=53"))
    }

    fn trace_info(&self, port: String, frame: String, trace: Trace) -> TraceInfo {
        TraceInfo {
            port,
            frame,
            key: trace.key.ok().map(|key| view::key(&key)),
            stages: trace.steps.into_iter().map(|step| self.stage(step)).collect(),
            program: trace.program.iter().map(|action| self.action(action)).collect(),
            caching: caching(trace.caching).into(),
            cached: trace.cached.map(|cached| CachedInfo {
                program: cached.program.iter().map(|action| self.action(action)).collect(),
                frames: cached.frames,
            }),
            departures: trace.departures.into_iter().map(|departure| self.departure(departure)).collect(),
            dropped: trace.dropped.map(loss),
        }
    }

    fn stage(&self, step: Step) -> StageInfo {
        let (verdict, dropped) = match step.verdict {
            Verdict::Continue => ("continue", None),
            Verdict::Drop(reason) => ("drop", Some(loss(reason))),
            Verdict::Reply => ("reply", None),
        };
        let edits = step.edits.into_iter();
        StageInfo {
            stage: step.stage.into(),
            verdict: verdict.into(),
            dropped,
            why: step.notes.into_iter().map(|note| self.words(note)).collect(),
            edits: edits.map(|e| EditInfo { field: e.field.into(), before: e.before, after: e.after }).collect(),
            egress: step.egress.into_iter().map(|port| self.port_word(port)).collect(),
            once: step.once,
        }
    }

    fn words(&self, note: Note) -> String {
        match note.port {
            Some(port) => format!("{} {}", note.text, self.port_word(port)),
            None => note.text.into_owned(),
        }
    }

    fn departure(&self, departure: Departure) -> DepartureInfo {
        DepartureInfo {
            port: self.port_word(departure.port),
            frame: summary(&departure.frame, departure.frame.len()),
            hex: departure.frame.iter().map(|byte| format!("{byte:02x}")).collect(),
            dropped: departure.refused.map(loss),
        }
    }

    /// A port's name; the number of one that is gone.
    fn port_word(&self, port: PortId) -> String {
        self.switch.port_name(port).unwrap_or_else(|| format!("number {port}"))
    }
}

fn caching(caching: Caching) -> &'static str {
    match caching {
        Caching::Flow => "flow",
        Caching::Once => "once",
        Caching::TooLong => "too_long",
        Caching::Nothing => "nothing",
    }
}

fn loss(reason: DropReason) -> LossInfo {
    LossInfo { reason: reason.name().into(), meaning: reason.meaning().into() }
}

fn invalid(what: impl ToString, hint: &str) -> Refusal {
    Refusal::new(Kind::Invalid, what.to_string(), hint)
}

/// Bytes in hexadecimal, with whatever whitespace and colons between them.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_in_all_its_spellings() {
        assert_eq!(unhex("02:00 fF\n01"), Some(vec![2, 0, 0xff, 1]));
        assert_eq!((unhex("020"), unhex("0x02"), unhex("")), (None, None, Some(vec![])));
    }
}
