//! Captures over the control socket: the answer is a stream that ends with the capture.

use std::io;
use std::sync::Arc;

use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRAILER};
use hyper::{Method, Response, StatusCode};
use tokio::runtime::Handle;

use super::api::capture::{CAPTURED, CaptureRequest, Format, MISSED, NUMBER};
use super::routes::{Answer, parse};
use crate::service::{Kind, Refusal, Service, Stream, Tally};

/// Pieces that may wait for a slow reader.
const PIECES: usize = 16;

/// Whether this request is answered by a stream.
pub(super) fn is_wanted(method: &Method, path: &str) -> bool {
    method == Method::POST && path == "/v1/capture"
}

/// Begins a capture. The stream outlives the request.
pub(super) fn begin(service: &Arc<Service>, body: &[u8], runtime: Handle) -> Result<Response<Channel<Bytes>>, Answer> {
    let body = if body.is_empty() { b"{}" } else { body };
    let request = serde_json::from_value(parse(body)?).map_err(|error| {
        Refusal::new(Kind::Invalid, error.to_string(), "port, drops, snaplen, count, fields and format")
    });
    let request: CaptureRequest = request?;
    let content = match request.format {
        Format::Pcapng => "application/x-pcapng",
        Format::Text => "text/plain; charset=utf-8",
    };
    let stream = service.capture(request)?;
    let number = stream.number;
    let (sender, body) = Channel::new(PIECES);
    let work = move || pump(stream, sender, &runtime);
    let thread = std::thread::Builder::new().name("xdock-capture".into()).spawn(work);
    thread.map_err(|error| Answer::error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), None))?;
    Ok(response(content, number, body))
}

fn response(content: &'static str, number: u64, body: Channel<Bytes>) -> Response<Channel<Bytes>> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    headers.insert(NUMBER, HeaderValue::from(number));
    headers.insert(TRAILER, HeaderValue::from_static("captured, missed"));
    response
}

/// Hands a capture on until it ends, with the tally behind it.
fn pump(stream: Stream, mut sender: Sender<Bytes>, runtime: &Handle) {
    let tally = stream.run(|piece| runtime.block_on(sender.send_data(piece.into())).map_err(io::Error::other));
    if let Ok(tally) = tally {
        // Nobody waits for it who has gone meanwhile.
        let _ = runtime.block_on(sender.send_trailers(trailers(tally)));
    }
}

fn trailers(tally: Tally) -> HeaderMap {
    let counts = [(CAPTURED, tally.captured), (MISSED, tally.missed)];
    counts.map(|(name, count)| (HeaderName::from_static(name), HeaderValue::from(count))).into_iter().collect()
}
