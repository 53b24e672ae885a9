//! The other end of the control socket, as `xdock` uses it.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::api::ErrorBody;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens on the socket, or it may not be used.
    #[error("cannot reach the switch at {path}: {source}", path = path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It cannot be put into a request.
    #[error("this cannot be asked for: {0}")]
    Unaskable(#[from] hyper::http::Error),
    /// The conversation broke off.
    #[error("the switch gave no answer: {0}")]
    NoAnswer(String),
    /// The switch refused.
    #[error("{}", .0.error)]
    Refused(ErrorBody),
}

impl ClientError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as root, or as a member of the socket's group".into())
            }
            Self::Unreachable { .. } => {
                Some("start it with \"xdock run\", or name its socket with --control PATH".into())
            }
            Self::Unaskable(_) | Self::NoAnswer(_) => None,
            Self::Refused(body) => body.hint.clone(),
        }
    }
}

/// Sends one request to the switch that listens on `socket`, and waits for the answer's JSON (`null` if it is empty).
///
/// # Errors
/// The switch cannot be reached, breaks off, or refuses.
pub fn request(socket: &Path, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
    let body = body.map_or_else(Bytes::new, |json| json.to_string().into());
    let (status, answer) = converse(socket, method, path, body)?;
    understand(status, &answer)
}

/// Asks the switch that listens on `socket` to show something; gives its JSON as it is.
///
/// # Errors
/// The switch cannot be reached, breaks off, or refuses.
pub fn read(socket: &Path, path: &str) -> Result<String, ClientError> {
    let (status, answer) = converse(socket, Method::GET, path, Bytes::new())?;
    if !status.is_success() {
        return Err(refusal(status, &answer));
    }
    String::from_utf8(answer.into()).map_err(|e| ClientError::NoAnswer(e.to_string()))
}

fn converse(socket: &Path, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), ClientError> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "xdock")
        .header("content-type", "application/json")
        .body(Full::new(body))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|e| ClientError::NoAnswer(e.to_string()))?;
    runtime.block_on(exchange(socket, request))
}

/// A conversation with the switch that listens on `socket`.
pub(super) async fn connect(socket: &Path) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let unreachable = |source| ClientError::Unreachable { path: socket.to_owned(), source };
    let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
    let broken = |e: hyper::Error| ClientError::NoAnswer(e.to_string());
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(socket: &Path, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ClientError> {
    let broken = |e: hyper::Error| ClientError::NoAnswer(e.to_string());
    let response = connect(socket).await?.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(broken)?;
    Ok((status, body.to_bytes()))
}

pub(super) fn understand(status: StatusCode, answer: &[u8]) -> Result<Value, ClientError> {
    if !status.is_success() {
        return Err(refusal(status, answer));
    }
    if answer.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(answer).map_err(|e| ClientError::NoAnswer(e.to_string()))
}

fn refusal(status: StatusCode, answer: &[u8]) -> ClientError {
    let unclear = |_| ErrorBody { error: format!("the switch answered {status}"), hint: None, problems: Vec::new() };
    ClientError::Refused(serde_json::from_slice(answer).unwrap_or_else(unclear))
}
