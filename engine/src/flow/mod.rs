//! A flow: what frames have in common that the switch treats alike.

mod flood;

pub(crate) use flood::exit;
pub use flood::{Flood, FloodKind};

use crate::clock::Millis;
use crate::drop::DropReason;
use crate::program::{Exit, Program};
use crate::tables::Tables;
use crate::tables::topology::{DomainId, IsolationGroups};
use crate::tables::vlan::{Class, Vlan};
use crate::trace::Note;
use crate::wire::Mac;
use crate::wire::ethernet::HEADER_LEN;
use crate::wire::vlan::{Tag, TagStack, Tci, Tpid};
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
    /// The outermost VLAN tag's kind, and whether another follows.
    pub tags: TagStack,
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

    /// The key of these words of layer 2, with nothing deeper.
    #[inline]
    pub(crate) fn of_layer2([a, b, c]: [u64; 3]) -> FlowKey {
        FlowKey::from_words([a, b, c, 0, 0, 0, 0, 0])
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
        (self.tags != TagStack::NONE).then(|| Tag::new(self.tags.outer(), self.vlan))
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

/// Ports that a trace names which a flood is kept from.
const MOST_KEPT: usize = 16;

/// What a stage sees and edits: header fields as a value, never bytes.
pub struct Flow<'a> {
    before: &'a FlowKey,
    /// As edited, once something was.
    after: Option<FlowKey>,
    frame: &'a [u8],
    egress: &'a mut Vec<PortId>,
    answer: &'a mut Vec<u8>,
    cacheable: bool,
    floods: bool,
    domain: Option<DomainId>,
    /// What the VLAN stage made of it.
    pub(crate) class: Class,
    /// Its source is pinned to another port.
    pub(crate) is_pinned_elsewhere: bool,
    /// Ports of these groups may not receive it.
    pub isolation: IsolationGroups,
    /// What this worker knows.
    pub tables: &'a mut Tables,
    /// The time of this batch.
    pub now: Millis,
}

/// What stages decided about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The program holds for every frame of this flow, until the epoch changes.
    Flow,
    /// The program holds for this frame only.
    Once,
    /// It goes to all others of its domain: there is no program.
    Flood(Flood),
}

impl<'a> Flow<'a> {
    /// A flow before its first stage. `egress` and `answer` are scratch, cleared here.
    #[inline]
    pub(crate) fn new(
        (before, frame): (&'a FlowKey, &'a [u8]),
        (egress, answer): (&'a mut Vec<PortId>, &'a mut Vec<u8>),
        tables: &'a mut Tables,
        now: Millis,
    ) -> Flow<'a> {
        egress.clear();
        answer.clear();
        Flow {
            before,
            after: None,
            frame,
            egress,
            answer,
            cacheable: true,
            floods: false,
            domain: tables.topology.domain_of(before.port),
            class: Class::TRANSPARENT,
            is_pinned_elsewhere: false,
            isolation: IsolationGroups::default(),
            tables,
            now,
        }
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
    #[inline]
    pub fn key(&self) -> &'a FlowKey {
        self.before
    }

    /// The header fields as edited so far.
    #[inline]
    pub fn edited(&self) -> &FlowKey {
        self.after.as_ref().unwrap_or(self.before)
    }

    /// The frame's bytes, for stages that answer it. Decisions may rest on [`Flow::key`] alone, or be kept out of the
    /// cache with [`Flow::once`].
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// Rewrites the source MAC.
    pub fn set_eth_src(&mut self, mac: Mac) {
        self.after.get_or_insert(*self.before).eth_src = mac;
    }

    /// Rewrites the destination MAC.
    pub fn set_eth_dst(&mut self, mac: Mac) {
        self.after.get_or_insert(*self.before).eth_dst = mac;
    }

    /// Adds an egress port. It gets the frame if it carries its VLAN, with the tag that it wants there.
    #[inline]
    pub fn send_to(&mut self, port: PortId) {
        self.egress.push(port);
    }

    /// Adds every port of the ingress port's domain that may receive this frame. Not cached: what is learned next
    /// changes it.
    pub fn flood(&mut self) {
        (self.cacheable, self.floods) = (false, true);
        if self.is_rehearsal() {
            self.explain_flood();
            self.add_flooded();
        }
    }

    /// The flood that was asked for.
    fn flooded(&self) -> Option<Flood> {
        let domain = self.domain.filter(|_| self.floods)?;
        let (ingress, kind) = (self.before.port, FloodKind::of(self.edited().eth_dst));
        Some(Flood { ingress, domain, class: self.class, isolation: self.isolation, kind })
    }

    /// Tells a trace which knobs keep the flood from which ports, of the first few.
    fn explain_flood(&mut self) {
        let Some(flood) = self.flooded() else { return };
        let members = self.tables.topology.domain(flood.domain).map(|domain| domain.members.clone());
        let kept =
            members.unwrap_or_default().into_iter().filter_map(|port| Some((flood.knob(port, self.tables)?, port)));
        let kept: Vec<_> = kept.take(MOST_KEPT).collect();
        kept.into_iter().for_each(|(why, port)| self.explain_port(why, port));
    }

    /// Adds the ports of the flood one by one.
    fn add_flooded(&mut self) {
        let Some(flood) = self.flooded() else { return };
        let Some(domain) = self.tables.topology.domain(flood.domain) else { return };
        let all = domain.members.iter().copied();
        self.egress.extend(all.filter(|&port| flood.exit(port, self.tables).is_some()));
    }

    /// Keeps the decision out of the flow cache: it rests on more than the key.
    #[inline]
    pub fn once(&mut self) {
        self.cacheable = false;
    }

    /// Whether this is a trace: a stage may then decide, but not change anything that outlasts the frame. The tables see
    /// to themselves.
    #[inline]
    pub fn is_rehearsal(&self) -> bool {
        self.tables.is_rehearsal()
    }

    /// Tells a trace why, in a few words.
    #[inline]
    pub fn explain(&mut self, why: impl Into<Cow<'static, str>>) {
        if self.is_rehearsal() {
            self.tables.note(Note { text: why.into(), port: None });
        }
    }

    /// Tells a trace why, in words that end with a port's name.
    #[inline]
    pub fn explain_port(&mut self, why: impl Into<Cow<'static, str>>, port: PortId) {
        if self.is_rehearsal() {
            self.tables.note(Note { text: why.into(), port: Some(port) });
        }
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

    /// Turns what the stages decided into a program, unless it is a flood that changes nothing.
    #[inline]
    pub(crate) fn compile(&mut self, program: &mut Program) -> Decision {
        if self.floods && !self.is_rehearsal() {
            match self.flooded() {
                Some(flood) if self.egress.is_empty() && self.after.is_none() => return Decision::Flood(flood),
                _ => self.add_flooded(),
            }
        }
        let exits = self.egress.iter().filter_map(|&port| self.exit(port));
        program.diff(self.before, self.edited(), self.class.carried, exits);
        self.decision()
    }

    /// How the frame leaves by a port, if that carries its VLAN.
    #[inline]
    fn exit(&self, port: PortId) -> Option<Exit> {
        exit(port, self.tables.topology.port(port)?, &self.class)
    }

    /// Makes the program a drop.
    #[inline]
    pub(crate) fn refuse(&self, reason: DropReason, program: &mut Program) -> Decision {
        program.drop(reason);
        self.decision()
    }

    #[inline]
    fn decision(&self) -> Decision {
        if self.cacheable { Decision::Flow } else { Decision::Once }
    }
}
