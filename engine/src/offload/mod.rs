//! What a sender left undone and a port cannot do: checksums completed, super-frames cut, segments joined.
//!
//! # Theory of operation
//!
//! Between two ports that carry everything a frame passes as it is. [`Outbound`] stands in front of every other port and
//! works on the batch that is about to be transmitted:
//!
//! ```text
//!  port takes     csum  tso/uso    what is done to a frame that asks for it
//!  ----------     ----  -------    ---------------------------------------------------------------
//!  plain TAP       -      -        csum: completed            super-frame: cut, checksums completed
//!  AF_XDP          x      -        csum: passed               super-frame: cut, checksums left partial
//!  TAP, packet     x      x        passed; wire-size TCP segments of one flow are joined
//! ```
//!
//! *Cutting* ([`Segments`]) gives what Linux gives: net/ipv4/af_inet.c `inet_gso_segment`, net/ipv6/ip6_offload.c
//! `ipv6_gso_segment`, net/ipv4/tcp_offload.c `tcp_gso_segment`, net/ipv4/udp_offload.c `__udp_gso_segment`. A super-frame
//! whose payload fits one segment is sent as that one; Linux would refuse it.
//!
//! *Joining* ([`Coalescer`]) follows Linux's GRO, and is stricter in one point: cutting what was joined gives back exactly
//! the frames that came. It looks at one batch at a time and holds nothing back, so it costs no latency.
//!
//! *Sums.* A partial checksum is the pseudo-header's sum, not inverted, in the checksum field. Cutting changes the length
//! in that sum and nothing else: a sender's wrong sum stays wrong in every segment, as in Linux.
//!
//! Frames are conserved: the last segment takes its super-frame's place and the others count as `generated`; a frame
//! that went into another counts as `coalesced`.

mod crc32c;
mod csum;
mod gro;
mod gso;
mod outbound;

pub use crc32c::complete_sctp;
pub use csum::{add, complete, pseudo_header, sum};
pub use gro::Coalescer;
pub use gso::{Checksums, Segments};
pub use outbound::{Outbound, Takes};

/// The offload asks for something that the frame's own headers contradict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the offload does not fit the frame")]
pub struct Unfit;

#[cfg(test)]
mod tests;
