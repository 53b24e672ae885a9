//! What `POST /v1/capture` takes. It answers with a stream that ends with the capture; its trailers are
//! [`CAPTURED`] and [`MISSED`].

use serde::{Deserialize, Serialize};

/// The header that tells the number to end a capture by, with `DELETE /v1/capture/NUMBER`.
pub const NUMBER: &str = "capture-number";
/// The trailer that counts the frames in the stream.
pub const CAPTURED: &str = "captured";
/// The trailer that counts the frames whose copies were missed, because nobody read them in time.
pub const MISSED: &str = "missed";

/// What to capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureRequest {
    /// Only frames at this port.
    pub port: Option<String>,
    /// Only frames that are dropped.
    pub drops: bool,
    /// Most bytes of each frame; 0 for all.
    pub snaplen: u32,
    /// Ends after so many frames.
    pub count: Option<u64>,
    /// Only frames with these fields, each `key=value`: see [`crate::packet::fields`].
    pub fields: Vec<String>,
    /// What the stream is.
    pub format: Format,
}

impl Default for CaptureRequest {
    fn default() -> Self {
        Self { port: None, drops: false, snaplen: 256, count: None, fields: Vec::new(), format: Format::Pcapng }
    }
}

/// The shape of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A capture file.
    Pcapng,
    /// A line a frame.
    Text,
}
