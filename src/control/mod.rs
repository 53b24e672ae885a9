//! The control socket: HTTP and JSON over a unix socket, the same for `xdock`, plugins and `curl --unix-socket`.

pub mod api;
pub mod client;
mod routes;
pub mod server;
pub mod socket;
mod stream;
pub mod watch;
