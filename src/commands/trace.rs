//! `xdock trace`: what the switch would do with a frame, and why.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crossdock::control::api::trace::{DepartureInfo, LossInfo, StageInfo, TraceInfo, TraceRequest};
use crossdock::packet::file::{self, FileError};
use hyper::Method;
use serde_json::json;

use super::ask;
use crate::cli::TraceArgs;
use crate::failure::Failure;

pub fn run(args: &TraceArgs) -> Result<(), Failure> {
    let request = TraceRequest { port: args.port.clone(), hex: hex(args)?, fields: args.fields.clone() };
    let answer = ask("trace", &args.list.target, Method::POST, "/v1/trace", Some(&json!(request)))?;
    let mut out = io::stdout().lock();
    if args.list.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    let trace = serde_json::from_value(answer).map_err(|e| Failure::new("trace", e, super::show::other_version()))?;
    Ok(write(&mut out, &trace)?)
}

/// The frame's bytes, where they are given.
fn hex(args: &TraceArgs) -> Result<Option<String>, Failure> {
    let Some(path) = &args.pcap else { return Ok(args.hex.clone()) };
    let frame = frame(path, args.frame);
    let frame = frame.map_err(|error| Failure::new(&path.display().to_string(), error, None))?;
    Ok(Some(frame.iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn frame(path: &Path, number: usize) -> Result<Vec<u8>, FileError> {
    if path == Path::new("-") { file::frame(io::stdin(), number) } else { file::frame(File::open(path)?, number) }
}

fn write(out: &mut impl Write, trace: &TraceInfo) -> io::Result<()> {
    writeln!(out, "Frame:   {}\nFrom:    {}", trace.frame, trace.port)?;
    if let Some(key) = &trace.key {
        let fields: Vec<String> = key.iter().map(|(field, value)| format!("{field}={value}")).collect();
        writeln!(out, "Key:     {}", fields.join(" "))?;
    }
    writeln!(out)?;
    for (number, stage) in (1..).zip(&trace.stages) {
        write_stage(out, number, stage)?;
    }
    if !trace.program.is_empty() {
        writeln!(out, "\nProgram: {}", trace.program.join(", "))?;
    }
    writeln!(out, "Cache:   {}", cache(trace))?;
    trace.departures.iter().try_for_each(|departure| write_departure(out, departure))?;
    trace.dropped.iter().try_for_each(|loss| writeln!(out, "Dropped: {}", words(loss)))
}

fn write_stage(out: &mut impl Write, number: usize, stage: &StageInfo) -> io::Result<()> {
    writeln!(out, "{number:2}. {}", stage.stage)?;
    stage.why.iter().try_for_each(|why| writeln!(out, "      {why}"))?;
    for edit in &stage.edits {
        writeln!(out, "      {}: {} becomes {}", edit.field, edit.before, edit.after)?;
    }
    if !stage.egress.is_empty() {
        writeln!(out, "      -> {}", stage.egress.join(", "))?;
    }
    match (&stage.dropped, stage.verdict.as_str()) {
        (Some(loss), _) => writeln!(out, "      drop: {}", words(loss)),
        (None, "reply") => writeln!(out, "      answers it"),
        _ => Ok(()),
    }
}

fn cache(trace: &TraceInfo) -> String {
    let would = match trace.caching.as_str() {
        "flow" => "would be kept for the frames that follow",
        "once" => "would not be kept: it holds for this frame only",
        "too_long" => "would not be kept: it has too many steps",
        _ => "nothing to keep",
    };
    match &trace.cached {
        Some(cached) => {
            format!("holds {} since {} frames: the stages are not asked", cached.program.join(", "), cached.frames)
        }
        None => would.into(),
    }
}

fn write_departure(out: &mut impl Write, departure: &DepartureInfo) -> io::Result<()> {
    match &departure.dropped {
        None => writeln!(out, "Leaves:  {}: {}", departure.port, departure.frame),
        Some(loss) => writeln!(out, "Dropped: at {}: {}", departure.port, words(loss)),
    }
}

fn words(loss: &LossInfo) -> String {
    format!("{}: {}", loss.reason, loss.meaning)
}
