//! Making ports: from the configuration's words to the engine's, one file for each kind.

mod fault;
mod packet;
mod pcap;
mod tap;
#[cfg(feature = "xdp")]
mod xdp;

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::sync::Arc;

use crossdock_engine::ports::tap::TapHandle;
use crossdock_engine::ports::{NetnsError, NetnsId, Port, Whereabouts};
use tracing::warn;

use super::{Kind, Refusal};
use crate::config::{PortConfig, PortKind};
use crate::machine;

/// A port that is made, to be given to the switch.
pub(super) struct Made {
    pub port: Box<dyn Port>,
    pub handle: Arc<dyn Handle>,
}

/// What the ports of a switch have in common.
#[derive(Default)]
pub(super) struct Common {
    #[cfg(feature = "xdp")]
    xdp: crossdock_engine::ports::xdp::XdpMemory,
}

/// What the control side keeps of a port. It does not keep the port alive.
pub(super) trait Handle: Send + Sync {
    /// Where its interface is now; `None` when it is gone, or never was.
    fn whereabouts(&self) -> Option<Whereabouts>;

    /// The namespace, other than ours, that lives for as long as the port is open, deleted or not.
    fn holds(&self) -> Option<NetnsId> {
        None
    }

    /// The TAP that it is, if it is one.
    fn tap(&self) -> Option<&TapHandle> {
        None
    }

    /// What was made for the port is to outlive the switch.
    ///
    /// # Errors
    /// What the kernel says.
    fn keep(&self) -> io::Result<()> {
        Ok(())
    }

    /// The port is removed on purpose: what was made for it is to go with it, even where it would outlive the switch.
    fn release(&self) {}
}

/// Makes what the configuration asks for. `adopt`: takes over the interface that an earlier switch kept.
///
/// # Errors
/// It cannot be had. Nothing is left behind then but what there was.
pub(super) fn make(port: &PortConfig, adopt: bool, common: &Common) -> Result<Made, Refusal> {
    let made = match port.kind {
        PortKind::Tap => tap::make(port, adopt),
        PortKind::Packet => packet::make(port),
        PortKind::Pcap => pcap::make(port),
        #[cfg(feature = "xdp")]
        PortKind::Xdp => xdp::make(port, &common.xdp),
        #[cfg(not(feature = "xdp"))]
        PortKind::Xdp => packet_instead(port, "this build has no AF_XDP"),
    }?;
    Ok(Made { port: fault::wrap(made.port, port.fault.as_ref()), ..made })
}

/// Serves an interface by packet sockets where AF_XDP cannot, and says so. The port then shows as what it is.
fn packet_instead(port: &PortConfig, why: impl Display) -> Result<Made, Refusal> {
    warn!(port = port.name, "{why}; packet sockets serve it");
    packet::make(port)
}

/// Tells that the process may not open another file, if that is why there is no port.
fn no_file(port: &PortConfig, error: &(dyn Error + 'static)) -> Option<Refusal> {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    let codes = causes.find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    codes.filter(|code| *code == libc::EMFILE)?;
    let limit = machine::file_limit().map_or_else(|| "as many as there are".into(), |limit| limit.to_string());
    let what = format!("port {}: no file descriptor is left: this process may have {limit} (RLIMIT_NOFILE)", port.name);
    let hint = "a higher hard limit before it starts: \"ulimit -n 65536\" as root, or LimitNOFILE=65536 in its unit; every \
                queue of a port takes one";
    Some(Refusal::new(Kind::Failed, what, hint))
}

/// Tells that a port's namespace cannot be opened.
fn no_netns(port: &PortConfig, error: &NetnsError) -> Refusal {
    let (name, path) = (&error.name, error.name.contains('/'));
    let sentence = match (error.source.kind(), path) {
        (io::ErrorKind::NotFound, true) => format!("no namespace \"{name}\""),
        (io::ErrorKind::NotFound, false) => format!("no namespace \"{name}\" under /run/netns"),
        _ => error.to_string(),
    };
    let hint =
        if path { "a path like /proc/PID/ns/net".into() } else { format!("create it with \"ip netns add {name}\"") };
    Refusal::new(Kind::Unknown, format!("port {}: {sentence}", port.name), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crossdock_engine::ports::tap::TapError;

    #[test]
    fn a_missing_namespace_is_one_clear_sentence() {
        let port = PortConfig::new("h1".into(), "lan".into());
        let missing = |name: &str| NetnsError {
            name: name.into(),
            path: config::netns_path(name),
            source: io::ErrorKind::NotFound.into(),
        };
        let named = no_netns(&port, &missing("red"));
        assert_eq!(named.to_string(), "port h1: no namespace \"red\" under /run/netns");
        assert_eq!(named.hint.unwrap(), "create it with \"ip netns add red\"");
        assert_eq!(no_netns(&port, &missing("/proc/1/ns/x")).to_string(), "port h1: no namespace \"/proc/1/ns/x\"");
    }

    #[test]
    fn a_limit_of_open_files_is_named_with_what_to_do_about_it() {
        let port = PortConfig::new("h1".into(), "lan".into());
        let error = |code| {
            let source = io::Error::from_raw_os_error(code);
            TapError::Netns(NetnsError { name: "red".into(), path: "/run/netns/red".into(), source })
        };
        let told = no_file(&port, &error(libc::EMFILE)).unwrap();
        assert!(told.what.starts_with("port h1: no file descriptor is left: this process may have "), "{told}");
        assert!(told.hint.unwrap().contains("LimitNOFILE"));
        assert_eq!(no_file(&port, &error(libc::ENOENT)), None);
        assert!(no_file(&port, &TapError::NoTun(io::Error::from_raw_os_error(libc::EMFILE))).is_some());
    }
}
