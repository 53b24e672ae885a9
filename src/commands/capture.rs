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
    let file = args.write.as_deref().filter(|path| *path != Path::new("-"));
    // Not before the switch has agreed: what is in the file would be lost for nothing.
    let open = || {
        let out = output(file)?;
        // On standard error: standard output belongs to the frames.
        eprintln!("xdock: capturing {}; Ctrl-C ends it", describe(&request));
        Ok(out)
    };
    let tally = watch(&args.target.control, &request, open).map_err(|error| Failure::from(("capture", error)))?;
    let tally = tally.map_err(|error| unwritten(file, error))?;
    eprintln!("xdock: {} frames captured, {} missed", tally.captured, tally.missed);
    Ok(())
}

fn output(file: Option<&Path>) -> io::Result<Box<dyn Write>> {
    match file {
        None => Ok(Box::new(io::stdout())),
        Some(path) => Ok(Box::new(File::create(path)?)),
    }
}

fn unwritten(file: Option<&Path>, error: io::Error) -> Failure {
    match file {
        None => error.into(),
        Some(path) => Failure::new(&path.display().to_string(), error, None),
    }
}

fn describe(request: &CaptureRequest) -> String {
    let what = if request.drops { "dropped frames" } else { "frames" };
    let place = request.port.as_ref().map_or_else(|| "all ports".into(), |port| format!("port {port}"));
    let length = if request.snaplen == 0 { "whole".into() } else { format!("{} bytes of each", request.snaplen) };
    format!("{what} at {place}, {length}")
}
