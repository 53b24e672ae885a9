//! A flow: what frames have in common that the switch treats alike.

use crate::clock::Millis;
use crate::drop::DropReason;
use crate::program::{Exit, Program};
use crate::tables::Tables;
use crate::tables::topology::DomainId;
use crate::tables::vlan::{Class, Vlan};
use crate::trace::Note;
use crate::wire::Mac;
use crate::wire::ethernet::HEADER_LEN;
use crate::wire::vlan::{Tag, Tci, Tpid};
use std::borrow::Cow;
use std::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute, transmute_mut};

/// A port's number inside one switch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct PortId(pub u16);

impl PortId {
    /// Position in a table of ports.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The deepest header a stage reads. The parser goes no deeper than the deepest stage asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Ingress port, outermost VLAN tag, MAC addresses and EtherType.
    #[default]
    L2,
    /// And IP addresses, protocol, type of service.
    L3,
    /// And TCP or UDP ports.
    L4,
}

/// The header fields that decide what happens to a frame. Fields deeper than the pipeline asked for are zero.
///
/// 64 bytes, one cache line; the first three words hold all of layer 2.
#[derive(Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct FlowKey {
    /// The ingress port.
    pub port: PortId,
    /// The outermost VLAN tag's content, as it came; 0 in a frame without tag.
    pub vlan: Tci,
    /// The outermost VLAN tag's kind.
    pub tpid: Tpid,
    /// VXLAN network identifier in network byte order; 0 outside a tunnel.
    pub vni: [u8; 3],
    /// Source MAC.
    pub eth_src: Mac,
    /// EtherType behind at most two VLAN tags, as it stands in the frame: in network byte order.
    pub ethertype: [u8; 2],
    /// Destination MAC.
    pub eth_dst: Mac,
    /// IP protocol, or the last IPv6 next header.
    pub ip_proto: u8,
    /// IPv4 type of service, IPv6 traffic class.
    pub ip_tos: u8,
    /// Source address; IPv4 in the last four bytes.
    pub ip_src: [u8; 16],
    /// Destination address; IPv4 in the last four bytes.
    pub ip_dst: [u8; 16],
    /// TCP or UDP source port; 0 in a fragment.
    pub l4_src: u16,
    /// TCP or UDP destination port; 0 in a fragment.
    pub l4_dst: u16,
    /// 1 when the packet is an IP fragment.
    pub fragment: u8,
    /// The kind of a second VLAN tag, behind the outermost. Read from [`Depth::L3`] on, since layer 2 switches by one tag.
    pub inner_tpid: Tpid,
    /// The second VLAN tag's content.
    pub inner_vlan: Tci,
}

const _: () = assert!(size_of::<FlowKey>() == 64, "one cache line");

impl FlowKey {
    /// The key as words: what is hashed and compared.
    #[inline]
    pub fn words(&self) -> [u64; 8] {
        transmute!(*self)
    }

    /// The inverse of [`FlowKey::words`].
    #[inline]
    pub fn from_words(words: [u64; 8]) -> FlowKey {
        transmute!(words)
    }

    /// Writes the words of layer 2; the others stay.
    #[inline(always)]
    pub(crate) fn set_layer2(&mut self, [a, b, c]: [u64; 3]) {
        let words: &mut [u64; 8] = transmute_mut!(self);
        (words[0], words[1], words[2]) = (a, b, c);
    }

    /// The outermost VLAN tag.
    #[inline]
    pub fn tag(&self) -> Option<Tag> {
        (self.tpid != Tpid::NONE).then(|| Tag::new(self.tpid, self.vlan))
    }

    /// The EtherType as a number.
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes(self.ethertype)
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} {} > {}", self.port, self.eth_src, self.eth_dst)?;
        self.tag().map_or(Ok(()), |tag| write!(f, " vlan {tag}"))?;
        write!(f, " type {:#06x}", self.ethertype())
    }
}

/// What a stage decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on to the next stage; after the last, the frame leaves by the ports chosen so far.
    Continue,
    /// Stop here, for this reason.
    Drop(DropReason),
    /// The stage wrote an answer ([`Flow::answer`]): it leaves by the ingress port instead of the frame. Never cached.
    Reply,
}

/// What a stage sees and edits: header fields as a value, never bytes.
pub struct Flow<'a> {
    before: &'a FlowKey,
    after: FlowKey,
    frame: &'a [u8],
    egress: &'a mut Vec<PortId>,
    answer: &'a mut Vec<u8>,
    cacheable: bool,
    edited: bool,
    domain: Option<DomainId>,
    /// What the VLAN stage made of it.
    pub(crate) class: Class,
    /// Only ports that are not isolated may receive it.
    pub promiscuous_only: bool,
    /// What this worker knows.
    pub tables: &'a mut Tables,
    /// The time of this batch.
    pub now: Millis,
}

impl<'a> Flow<'a> {
    /// A flow before its first stage. `egress` and `answer` are scratch, cleared here.
    pub(crate) fn new(
        (key, frame): (&'a FlowKey, &'a [u8]),
        (egress, answer): (&'a mut Vec<PortId>, &'a mut Vec<u8>),
        tables: &'a mut Tables,
        now: Millis,
    ) -> Flow<'a> {
        egress.clear();
        answer.clear();
        let domain = tables.topology.domain_of(key.port);
        let (before, after, class) = (key, *key, Class::TRANSPARENT);
        let (cacheable, edited, promiscuous_only) = (true, false, false);
        Flow { before, after, frame, egress, answer, cacheable, edited, domain, class, promiscuous_only, tables, now }
    }

    /// The domain of the ingress port.
    #[inline]
    pub fn domain(&self) -> Option<DomainId> {
        self.domain
    }

    /// The VLAN it is switched in; [`Vlan::NONE`] in a domain without VLANs.
    #[inline]
    pub fn vlan(&self) -> Vlan {
        self.class.vlan
    }

    /// The header fields as the frame came.
    pub fn key(&self) -> &'a FlowKey {
        self.before
    }

    /// The header fields as edited so far.
    pub fn edited(&self) -> &FlowKey {
        &self.after
    }

    /// The frame's bytes, for stages that answer it. Decisions may rest on [`Flow::key`] alone, or be kept out of the
    /// cache with [`Flow::once`].
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// Rewrites the source MAC.
    pub fn set_eth_src(&mut self, mac: Mac) {
        self.edited |= self.after.eth_src != mac;
        self.after.eth_src = mac;
    }

    /// Rewrites the destination MAC.
    pub fn set_eth_dst(&mut self, mac: Mac) {
        self.edited |= self.after.eth_dst != mac;
        self.after.eth_dst = mac;
    }

    /// Adds an egress port. It gets the frame if it carries its VLAN, with the tag that it wants there.
    pub fn send_to(&mut self, port: PortId) {
        self.egress.push(port);
    }

    /// Adds every port of the ingress port's domain that may receive this frame. Not cached: what is learned next
    /// changes it.
    pub fn flood(&mut self) {
        self.cacheable = false;
        let ingress = self.before.port;
        let Some(domain) = self.domain.and_then(|id| self.tables.topology.domain(id)) else { return };
        let others = domain.members.iter().copied().filter(|&port| port != ingress);
        self.egress.extend(others.filter(|&port| self.tables.may_send(port, self.promiscuous_only)));
    }

    /// Keeps the decision out of the flow cache: it rests on more than the key.
    pub fn once(&mut self) {
        self.cacheable = false;
    }

    /// Whether this is a trace: a stage may then decide, but not change anything that outlasts the frame. The tables see
    /// to themselves.
    pub fn is_rehearsal(&self) -> bool {
        self.tables.is_rehearsal()
    }

    /// Tells a trace why, in a few words.
    pub fn explain(&mut self, why: impl Into<Cow<'static, str>>) {
        self.tables.note(Note { text: why.into(), port: None });
    }

    /// Tells a trace why, in words that end with a port's name.
    pub fn explain_port(&mut self, why: impl Into<Cow<'static, str>>, port: PortId) {
        self.tables.note(Note { text: why.into(), port: Some(port) });
    }

    /// Where to write the answer before returning [`Verdict::Reply`]: a whole Ethernet frame. Without one the frame is
    /// dropped as `denied`.
    pub fn answer(&mut self) -> &mut Vec<u8> {
        self.answer
    }

    /// Whether the decision may be cached so far.
    pub(crate) fn is_cacheable(&self) -> bool {
        self.cacheable
    }

    /// Whether the answer is at least an Ethernet header.
    pub(crate) fn has_answer(&self) -> bool {
        self.answer.len() >= HEADER_LEN
    }

    /// Egress ports chosen so far.
    pub fn egress(&self) -> &[PortId] {
        self.egress
    }

    /// Turns what the stages decided into a program; whether it may be cached.
    pub(crate) fn compile(&self, program: &mut Program) -> bool {
        let after = if self.edited { &self.after } else { self.before };
        let exits = self.egress.iter().filter_map(|&port| self.exit(port));
        program.diff(self.before, after, self.class.carried, exits);
        self.cacheable
    }

    /// How the frame leaves by a port, if that carries its VLAN.
    #[inline]
    fn exit(&self, port: PortId) -> Option<Exit> {
        let tagging = &self.tables.topology.port(port)?.vlan;
        tagging.carries(self.class.vlan).then(|| Exit { port, tag: tagging.leaving(&self.class) })
    }

    /// Makes the program a drop; whether it may be cached.
    pub(crate) fn refuse(&self, reason: DropReason, program: &mut Program) -> bool {
        program.drop(reason);
        self.cacheable
    }
}
