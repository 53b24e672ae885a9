//! `xdock capture`: the frames of a running switch, as a capture file or as text.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crossdock::control::api::capture::{CaptureRequest, Format};
use crossdock::control::watch::watch;

use crate::cli::CaptureArgs;
use crate::failure::Failure;

pub fn run(args: &CaptureArgs) -> Result<(), Failure> {
    let request = CaptureRequest {
        port: args.port.clone(),
        drops: args.drops,
        snaplen: args.snaplen,
        count: args.count,
        fields: args.fields.clone(),
        format: if args.write.is_some() { Format::Pcapng } else { Format::Text },
    };
    let mut out = output(args.write.as_deref())?;
    // On standard error: standard output belongs to the frames.
    let begun = || eprintln!("xdock: capturing {}; Ctrl-C ends it", describe(&request));
    let tally = watch(&args.target.control, &request, &mut *out, begun);
    let tally = tally.map_err(|error| Failure::from(("capture", error)))??;
    eprintln!("xdock: {} frames captured, {} missed", tally.captured, tally.missed);
    Ok(())
}

fn output(file: Option<&Path>) -> Result<Box<dyn Write>, Failure> {
    match file.filter(|path| *path != Path::new("-")) {
        None => Ok(Box::new(io::stdout())),
        Some(path) => match File::create(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(Failure::new(&path.display().to_string(), error, None)),
        },
    }
}

fn describe(request: &CaptureRequest) -> String {
    let what = if request.drops { "dropped frames" } else { "frames" };
    let place = request.port.as_ref().map_or_else(|| "all ports".into(), |port| format!("port {port}"));
    let length = if request.snaplen == 0 { "whole".into() } else { format!("{} bytes of each", request.snaplen) };
    format!("{what} at {place}, {length}")
}
