//! Reads a capture from the control socket until it ends, or is interrupted and then ends in order.

use std::io::{self, Write};
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, TE};
use hyper::{Method, Request, Response};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::api::capture::{CAPTURED, CaptureRequest, MISSED, NUMBER};
use super::client::{ClientError, connect, understand};
use crate::service::Tally;

/// Writes a capture of the switch that listens on `socket` to what `open` gives, which is called as soon as every frame
/// from then on is in it, and not at all if the switch refuses. SIGINT and SIGTERM end the capture, and what was seen until
/// then still comes.
///
/// # Errors
/// The switch cannot be reached, breaks off or refuses; or, inside, the output cannot be opened or written to.
pub fn watch(
    socket: &Path,
    request: &CaptureRequest,
    open: impl FnOnce() -> io::Result<Box<dyn Write>>,
) -> Result<io::Result<Tally>, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_answer)?;
    runtime.block_on(async {
        let mut ends = Ends::catch().map_err(no_answer)?;
        let response = begin(socket, request).await?;
        let number = response.headers().get(NUMBER).and_then(|number| number.to_str().ok()).map(str::to_owned);
        let mut out = match open() {
            Ok(out) => out,
            Err(error) => return Ok(Err(error)),
        };
        let mut body = response.into_body();
        let copied = tokio::select! {
            copied = copy(&mut body, &mut *out) => copied,
            () = ends.wait() => {
                end(socket, &number.unwrap_or_default()).await?;
                copy(&mut body, &mut *out).await
            }
        };
        copied.map_or_else(|error| error.unwritten().map(Err), |tally| Ok(Ok(tally)))
    })
}

/// What asks for the end.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    fn catch() -> io::Result<Ends> {
        Ok(Ends { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn begin(socket: &Path, request: &CaptureRequest) -> Result<Response<Incoming>, ClientError> {
    let body = json!(request).to_string();
    let request = Request::builder().method(Method::POST).uri("/v1/capture").header("host", "xdock");
    let request = request.header(TE, "trailers").body(Full::from(body))?;
    let response = connect(socket).await?.send_request(request).await.map_err(no_answer)?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let body = response.into_body().collect().await.map_err(no_answer)?.to_bytes();
    Err(understand(status, &body).err().unwrap_or_else(|| no_answer("it answered something else")))
}

/// On a connection of its own: the other one is busy with the stream.
async fn end(socket: &Path, number: &str) -> Result<(), ClientError> {
    let request = Request::builder().method(Method::DELETE).uri(format!("/v1/capture/{number}"));
    let request = request.header("host", "xdock").body(Full::<Bytes>::default())?;
    // One that has ended meanwhile cannot be ended again.
    connect(socket).await?.send_request(request).await.map(drop).map_err(no_answer)
}

/// Why a stream was not copied to its end.
enum Broken {
    Stream(ClientError),
    Output(io::Error),
}

impl Broken {
    fn unwritten(self) -> Result<io::Error, ClientError> {
        match self {
            Broken::Output(error) => Ok(error),
            Broken::Stream(error) => Err(error),
        }
    }
}

async fn copy(body: &mut Incoming, out: &mut dyn Write) -> Result<Tally, Broken> {
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| Broken::Stream(no_answer(error)))?.into_data() {
            Ok(piece) => out.write_all(&piece).and_then(|()| out.flush()).map_err(Broken::Output)?,
            Err(frame) => return Ok(tally(frame.trailers_ref())),
        }
    }
    Err(Broken::Stream(no_answer("it ended in the midst of the capture")))
}

fn tally(trailers: Option<&HeaderMap>) -> Tally {
    let count = |name: &str| trailers?.get(name)?.to_str().ok()?.parse().ok();
    Tally { captured: count(CAPTURED).unwrap_or(0), missed: count(MISSED).unwrap_or(0) }
}

fn no_answer(error: impl ToString) -> ClientError {
    ClientError::NoAnswer(error.to_string())
}
