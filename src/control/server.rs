//! Serves the control socket, and metrics over TCP. A slow or silent client costs a task and a little time-out, never anybody else's answer.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::routes::{Answer, Body, answer, scrape};
use super::stream;
use crate::metrics;
use crate::service::Service;

/// Largest body of a request, in bytes.
const BODY_MAX: usize = 1 << 20;
/// Most clients at a time; others wait in the kernel's queue.
const CLIENTS_MAX: usize = 256;
/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a whole exchange may take, answer included. A stream takes as long as it takes.
const EXCHANGE: Duration = Duration::from_secs(30);

/// What answers a request: method, path and body.
type Answerer = fn(&Service, &Method, &str, &[u8]) -> Answer;

/// Answers requests until the future is dropped.
pub async fn serve(listener: UnixListener, service: Arc<Service>) {
    attend(async || listener.accept().await.map(|(stream, _)| stream), answer, service).await;
}

/// Answers those who read metrics over TCP, and nobody else.
pub async fn serve_metrics(listener: TcpListener, service: Arc<Service>) {
    attend(async || listener.accept().await.map(|(stream, _)| stream), scrape, service).await;
}

async fn attend<S: Stream>(accept: impl AsyncFn() -> io::Result<S>, answerer: Answerer, service: Arc<Service>) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match accept().await {
            Ok(stream) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    let streams = AtomicBool::default();
                    let mut exchange = pin!(exchange(stream, answerer, service, &streams));
                    if timeout(EXCHANGE, &mut exchange).await.is_err() && streams.load(Relaxed) {
                        exchange.await;
                    }
                    drop(place);
                });
            }
            // Out of file descriptors: trying again at once would only spin.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A connection.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl Stream for UnixStream {}
impl Stream for TcpStream {}

/// An answer, or a stream.
type Reply = Either<Full<Bytes>, Channel<Bytes>>;

/// One connection, one request; `streams` says whether it became a stream.
async fn exchange(stream: impl Stream, answerer: Answerer, service: Arc<Service>, streams: &AtomicBool) {
    let handler = service_fn(|request| handle(request, answerer, Arc::clone(&service), streams));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
    // A client that breaks off needs no answer.
    let _ = http.serve_connection(TokioIo::new(stream), handler).await;
}

async fn handle(
    request: Request<Incoming>,
    answerer: Answerer,
    service: Arc<Service>,
    streams: &AtomicBool,
) -> Result<Response<Reply>, Infallible> {
    let (head, body) = request.into_parts();
    let answer = match read(body).await {
        Ok(body) if stream::is_wanted(&head.method, head.uri.path()) => {
            let runtime = Handle::current();
            match aside(move || stream::begin(&service, &body, runtime)).await.flatten() {
                Ok(stream) => {
                    streams.store(true, Relaxed);
                    return Ok(stream.map(Either::Right));
                }
                Err(refusal) => refusal,
            }
        }
        Ok(body) => {
            let work = move || answerer(&service, &head.method, head.uri.path(), &body);
            aside(work).await.unwrap_or_else(|broken| broken)
        }
        Err(refusal) => refusal,
    };
    Ok(response(&answer).map(Either::Left))
}

/// Does what may wait for the switch (a worker that is busy, an interface that is being made) where nobody else waits for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Answer> {
    let broken = |_| Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be finished", None);
    tokio::task::spawn_blocking(work).await.map_err(broken)
}

/// The whole body, if it is small and comes in time.
async fn read(body: Incoming) -> Result<Bytes, Answer> {
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(too_large());
    }
    match timeout(PATIENCE, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Answer::error(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"), None)),
        Err(_) => Err(Answer::error(StatusCode::REQUEST_TIMEOUT, "the body did not come in time", None)),
    }
}

fn too_large() -> Answer {
    let hint = format!("at most {BODY_MAX} bytes");
    Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large", Some(hint))
}

fn response(answer: &Answer) -> Response<Full<Bytes>> {
    let (kind, body) = match &answer.body {
        Body::Json(Value::Null) => ("application/json", Bytes::new()),
        Body::Json(json) => ("application/json", format!("{json}\n").into()),
        Body::Written(json) => ("application/json", format!("{json}\n").into()),
        Body::Metrics(text) => (metrics::CONTENT_TYPE, text.clone().into()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(allow) = answer.allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::occupied::occupied;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(mut client: UnixStream, request: &str) -> String {
        client
            .write_all(format!("{request} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[test]
    fn a_capture_that_waits_for_the_switch_holds_up_nobody() {
        let directory = std::env::temp_dir().join(format!("xd-server-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("sock");
        let (service, occupied) = occupied();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let server = serve(UnixListener::bind(&path).unwrap(), service);
            let clients = async {
                tokio::spawn(ask(UnixStream::connect(&path).await.unwrap(), "POST /v1/capture"));
                sleep(Duration::from_millis(100)).await;
                let client = UnixStream::connect(&path).await.unwrap();
                timeout(Duration::from_secs(5), ask(client, "GET /v1/version")).await
            };
            tokio::select! {
                () = server => None,
                answer = clients => answer.ok(),
            }
        });
        drop(occupied);
        std::fs::remove_dir_all(directory).unwrap();
        assert!(answer.unwrap().starts_with("HTTP/1.1 200 "));
    }
}
