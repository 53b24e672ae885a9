//! Who has which chunk of a UMEM: the account of the sockets that share it.
//!
//! # Theory of operation
//!
//! Each chunk has one holder at any time: the [`Depot`], or a socket, which is known by the number of its seat. A socket
//! keeps its chunks in a [`Stock`] of its own: received chunks go back to the kernel in the same call, and sent ones are
//! used again. As long as its own are enough, it touches nothing that others touch; when its need grows or shrinks, it trades
//! with the depot, which is a lock-free queue.
//!
//! ```text
//!                     more is needed                     lend, receive
//!   depot  <------------------------------->  in hand  <---------------->  fill ring, kernel, rx ring
//!          what nobody needed for a second             <---------------->  tx ring, kernel, completion ring
//!                                                         send, complete
//! ```
//!
//! *What a socket is sure of.* Its own chunks ([`Limits::own`]): a few lent to the kernel for frames to come, and enough for
//! one frame to be sent. No other socket can ever have those.
//!
//! *What it may have besides* depends on what is left (dynamic thresholds, Choudhury and Hahne 1998). For receiving it lends
//! twice as much as before when the kernel has used half of it before we looked, up to what its rings hold, but never more
//! than [`LENDING`] times what is then left. So one that is flooded gets two thirds of what there is; when others are too,
//! it lends less again as chunks come back, until all have as much, and the last chunks are nobody's. For sending it is
//! [`SENDING`] times what is left, because that comes back as soon as the kernel has sent it.
//!
//! *What it gives back.* When half of what was lent was not needed for some seconds, it is not lent again once it comes
//! back; what was in hand and not needed for a second goes to the depot. What the kernel has been lent it keeps until a
//! frame comes: there is no way to take a chunk out of a fill ring. (An address that is invalid would be skipped, but a kernel
//! that counts on it for a frame in pieces crashes: `__xsk_rcv` in net/xdp/xsk.c.)
//!
//! *When a socket is closed* its chunks lie anywhere in its rings or in the kernel. The depot knows them by their holder, and
//! has them back once the kernel has let go of the socket ([`Depot::reclaim`]).

use crossbeam::queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// The number of a chunk in its UMEM.
pub(super) type Chunk = u16;

/// The number of a socket among those that share a UMEM, from 1; 0 is the depot.
pub(super) type Seat = u8;

const NOBODY: Seat = 0;

/// How many times what is left in the depot a socket may have of chunks that are not its own: lent to the kernel, and for
/// sending.
const LENDING: u32 = 2;
const SENDING: u32 = 4;
/// Seconds after which less is lent if half of it was never needed: bulk transfers come in waves.
const WAVE: u32 = 4;

/// The chunks that no socket has.
pub(super) struct Depot {
    free: ArrayQueue<Chunk>,
    /// By chunk. Only the holder writes; for [`NOBODY`] it is who takes it out of the queue.
    holders: Box<[AtomicU8]>,
}

impl Depot {
    /// All of `chunks` chunks.
    pub fn new(chunks: u16) -> Depot {
        let depot = Depot {
            free: ArrayQueue::new(chunks.max(1).into()),
            holders: (0..chunks).map(|_| AtomicU8::new(NOBODY)).collect(),
        };
        (0..chunks).for_each(|chunk| depot.put(chunk));
        depot
    }

    /// How many chunks it has.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    fn take(&self, seat: Seat) -> Option<Chunk> {
        let chunk = self.free.pop()?;
        self.holders[usize::from(chunk)].store(seat, Relaxed);
        Some(chunk)
    }

    fn give(&self, chunk: Chunk) {
        self.holders[usize::from(chunk)].store(NOBODY, Relaxed);
        self.put(chunk);
    }

    fn put(&self, chunk: Chunk) {
        let full = self.free.push(chunk).is_err();
        debug_assert!(!full, "one place per chunk");
    }

    /// Takes back all that a socket holds. The kernel has let go of it, and its stock is not used any more.
    pub fn reclaim(&self, seat: Seat) {
        let held = (0..).zip(&self.holders).filter(|(_, holder)| holder.load(Relaxed) == seat);
        held.for_each(|(chunk, _)| self.give(chunk));
    }
}

/// How many chunks a socket may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Lent to the kernel for frames to come, when nothing is going on.
    pub least: u32,
    /// The same at the most: what the rings hold.
    pub most: u32,
    /// Kept for sending.
    pub sending: u32,
    /// Of all together.
    pub all: u32,
}

impl Limits {
    /// What nobody can take away.
    pub fn own(&self) -> u32 {
        self.least + self.sending
    }
}

/// The chunks of one socket.
pub(super) struct Stock {
    depot: Arc<Depot>,
    seat: Seat,
    limits: Limits,
    /// In hand; the one used last is used next.
    hand: Vec<Chunk>,
    /// At the kernel: for receiving, and for sending.
    lent: u32,
    sending: u32,
    /// How many to lend now, and at the least.
    target: u32,
    floor: u32,
    /// What was not needed: of those in hand, since [`Stock::settle`] was last called; of those lent, in the last few seconds.
    idle_hand: u32,
    idle_lent: u32,
    seconds: u32,
}

impl Stock {
    /// The stock of the socket on `seat`, with what is its own; `None` when the depot has not that much.
    pub fn new(depot: Arc<Depot>, seat: Seat, limits: Limits) -> Option<Stock> {
        let (own, least) = (limits.own(), limits.least);
        let mut hand = Vec::with_capacity(limits.all.max(own) as usize);
        hand.extend(std::iter::from_fn(|| depot.take(seat)).take(own as usize));
        if hand.len() < own as usize {
            hand.into_iter().for_each(|chunk| depot.give(chunk));
            return None;
        }
        let (target, floor, idle_hand) = (least, least, own);
        let (lent, sending, idle_lent, seconds) = (0, 0, 0, 0);
        Some(Stock { depot, seat, limits, hand, lent, sending, target, floor, idle_hand, idle_lent, seconds })
    }

    /// All chunks that it has, wherever they are.
    fn held(&self) -> u32 {
        self.hand.len() as u32 + self.lent + self.sending
    }

    /// Takes one more chunk from the depot, of which `left` must stay there.
    #[cold]
    fn grow(&mut self, left: u32) -> bool {
        let enough = self.depot.free() > left.max(1) as usize && self.held() < self.limits.all;
        let chunk = enough.then(|| self.depot.take(self.seat)).flatten();
        self.hand.extend(chunk);
        chunk.is_some()
    }

    /// How many chunks more than now it may lend: then it has lent, beside its own, [`LENDING`] times what is left in the depot
    /// and in hand.
    fn fair_to_lend(&self) -> u32 {
        let left = (self.depot.free() + self.hand.len()) as u32;
        (LENDING * left + self.limits.least).saturating_sub(self.lent) / (LENDING + 1)
    }

    /// How many chunks must stay in the depot when it takes one more to send.
    fn left_by_sending(&self) -> u32 {
        (self.sending + self.sendable() + 1).saturating_sub(self.limits.sending).div_ceil(SENDING)
    }

    /// Of the chunks in hand, how many may be lent: not what is kept for sending.
    #[inline]
    fn lendable(&self) -> u32 {
        let kept = self.limits.sending.saturating_sub(self.sending);
        (self.hand.len() as u32).saturating_sub(kept)
    }

    /// Of the chunks in hand, how many may be sent: not what is kept for receiving.
    #[inline]
    fn sendable(&self) -> u32 {
        let kept = self.limits.least.saturating_sub(self.lent);
        (self.hand.len() as u32).saturating_sub(kept)
    }

    /// How many chunks to lend now ([`Stock::lend`]), when the fill ring has so much room.
    #[inline]
    pub fn wanted(&mut self, room: u32) -> u32 {
        let own = self.limits.least.saturating_sub(self.lent);
        let mut wanted = self.target.saturating_sub(self.lent).min(room);
        if wanted > own {
            wanted = wanted.min(self.fair_to_lend().max(own));
        }
        while self.lendable() < wanted && self.grow(0) {}
        wanted.min(self.lendable())
    }

    /// A chunk for the fill ring.
    #[inline]
    pub fn lend(&mut self) -> Option<Chunk> {
        let chunk = self.hand.pop()?;
        self.lent += 1;
        Some(chunk)
    }

    /// A chunk came out of the rx ring, and its bytes have been read.
    #[inline]
    pub fn received(&mut self, chunk: Chunk) {
        self.lent -= 1;
        self.hand.push(chunk);
    }

    /// Whether `n` chunks can be sent now ([`Stock::send`]).
    #[inline]
    pub fn can_send(&mut self, n: u32) -> bool {
        while self.sendable() < n && self.grow(self.left_by_sending()) {}
        self.sendable() >= n
    }

    /// A chunk for the tx ring.
    #[inline]
    pub fn send(&mut self) -> Option<Chunk> {
        let chunk = self.hand.pop()?;
        self.sending += 1;
        self.idle_hand = self.idle_hand.min(self.hand.len() as u32);
        Some(chunk)
    }

    /// A chunk came out of the completion ring.
    #[inline]
    pub fn sent(&mut self, chunk: Chunk) {
        self.sending -= 1;
        self.hand.push(chunk);
    }

    /// Notes how many of the chunks lent had frames in them when we looked.
    #[inline]
    pub fn saw(&mut self, waiting: u32) {
        self.idle_lent = self.idle_lent.min(self.lent.saturating_sub(waiting));
        if 2 * waiting >= self.target {
            self.target = (2 * self.target).min(self.limits.most);
        }
    }

    /// A frame may take so many chunks: no fewer are to be lent from now on.
    pub fn expect(&mut self, pieces: u32) {
        self.floor = self.floor.max(pieces).min(self.limits.most);
        self.target = self.target.max(self.floor);
    }

    /// Called about once a second: gives back what was not needed.
    pub fn settle(&mut self) {
        let more = self.held().saturating_sub(self.limits.own());
        let back = self.idle_hand.min(more).min(self.lendable()).min(self.sendable());
        self.hand.drain(..back as usize).for_each(|chunk| self.depot.give(chunk));
        self.idle_hand = self.hand.len() as u32;
        self.seconds += 1;
        if self.seconds.is_multiple_of(WAVE) {
            self.lend_less();
        }
    }

    fn lend_less(&mut self) {
        if 2 * self.idle_lent > self.target {
            self.target = (self.target / 2).max(self.floor);
        }
        self.idle_lent = self.lent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const CHUNKS: u16 = 64;
    const SEATS: Seat = 4;
    const LIMITS: Limits = Limits { least: 8, most: 32, sending: 2, all: 48 };

    /// A socket with its rings: what of its chunks is where.
    struct Socket {
        stock: Stock,
        fill: VecDeque<Chunk>,
        rx: VecDeque<Chunk>,
        tx: VecDeque<Chunk>,
        /// Nobody else trades with the depot meanwhile.
        alone: bool,
    }

    impl Socket {
        fn new(depot: &Arc<Depot>, seat: Seat) -> Option<Socket> {
            let stock = Stock::new(depot.clone(), seat, LIMITS)?;
            let (fill, rx, tx) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
            let mut socket = Socket { stock, fill, rx, tx, alone: true };
            socket.lend();
            Some(socket)
        }

        fn lend(&mut self) {
            let wanted = self.stock.wanted(LIMITS.most - self.fill.len() as u32);
            self.fill.extend((0..wanted).map(|_| self.stock.lend().unwrap()));
            let Stock { depot, hand, lent, .. } = &self.stock;
            let (more, left) = (lent.saturating_sub(LIMITS.least) as usize, depot.free() + hand.len());
            assert!(!self.alone || wanted == 0 || more <= 2 * left, "{more} more lent, {left} left");
        }

        /// So many frames come in, as far as the kernel has chunks.
        fn arrive(&mut self, n: usize) {
            self.rx.extend(self.fill.drain(..n.min(self.fill.len())));
        }

        /// A call that takes up to so many frames.
        fn receive(&mut self, n: usize) {
            self.stock.saw(self.rx.len() as u32);
            self.rx.drain(..n.min(self.rx.len())).for_each(|chunk| self.stock.received(chunk));
            self.lend();
        }

        /// A frame of so many pieces is sent; false when there is no memory for it.
        fn send(&mut self, pieces: u32) -> bool {
            let before = self.stock.depot.free();
            let can = self.stock.can_send(pieces);
            let (more, left) = (self.stock.sending + self.stock.sendable(), self.stock.depot.free());
            assert!(
                left == before || left > 0 && more as usize <= LIMITS.sending as usize + 4 * left,
                "{more}, {left}"
            );
            self.tx.extend((0..if can { pieces } else { 0 }).map(|_| self.stock.send().unwrap()));
            can
        }

        /// So many pieces have left.
        fn complete(&mut self, n: usize) {
            self.tx.drain(..n.min(self.tx.len())).for_each(|chunk| self.stock.sent(chunk));
        }

        fn chunks(&self) -> Vec<Chunk> {
            let rings = self.fill.iter().chain(&self.rx).chain(&self.tx);
            rings.chain(&self.stock.hand).copied().collect()
        }

        fn assert_within_limits(&self) {
            let (all, lent) = (self.chunks().len() as u32, (self.fill.len() + self.rx.len()) as u32);
            assert!((LIMITS.own()..=LIMITS.all).contains(&all), "{all}");
            assert!(lent <= LIMITS.most, "{lent}");
            assert_eq!((self.stock.held(), self.stock.lent, self.stock.sending), (all, lent, self.tx.len() as u32));
        }

        fn more(&self) -> usize {
            self.chunks().len() - LIMITS.own() as usize
        }
    }

    /// Sockets that share a depot, some of them closed.
    struct Group {
        depot: Arc<Depot>,
        sockets: Vec<Option<Socket>>,
    }

    impl Group {
        fn new() -> Group {
            let depot = Arc::new(Depot::new(CHUNKS));
            let sockets = (1..=SEATS).map(|seat| Socket::new(&depot, seat)).collect();
            Group { depot, sockets }
        }

        fn act(&mut self, index: usize, action: Action) {
            let seat = index as Seat + 1;
            match (action, self.sockets[index].as_mut()) {
                (Action::Close, Some(_)) => {
                    self.depot.reclaim(seat);
                    self.sockets[index] = None;
                }
                (Action::Close, None) => self.sockets[index] = Socket::new(&self.depot, seat),
                (_, None) => {}
                (Action::Arrive(n), Some(socket)) => socket.arrive(n),
                (Action::Receive(n), Some(socket)) => socket.receive(n),
                (Action::Send(pieces), Some(socket)) => drop(socket.send(pieces)),
                (Action::Complete(n), Some(socket)) => socket.complete(n),
                (Action::Settle, Some(socket)) => socket.stock.settle(),
            }
        }

        /// Every chunk is in one place, and the depot knows whose it is.
        fn assert_conserved(&self) {
            let mut holders = vec![NOBODY; CHUNKS.into()];
            for (seat, socket) in (1..).zip(&self.sockets) {
                socket.iter().for_each(Socket::assert_within_limits);
                for chunk in socket.iter().flat_map(Socket::chunks) {
                    assert_eq!(std::mem::replace(&mut holders[usize::from(chunk)], seat), NOBODY, "chunk {chunk}");
                }
            }
            assert_eq!(holders, self.depot.holders.iter().map(|holder| holder.load(Relaxed)).collect::<Vec<_>>());
            assert_eq!(self.depot.free(), holders.iter().filter(|&&holder| holder == NOBODY).count());
        }

        /// Who looks has its own chunks with the kernel, and who has nothing under way can send.
        fn assert_served(&mut self, index: usize) {
            let Some(socket) = &mut self.sockets[index] else { return };
            socket.receive(usize::MAX);
            assert!(socket.fill.len() as u32 >= LIMITS.least, "{}", socket.fill.len());
            assert!(!socket.tx.is_empty() || socket.stock.sendable() >= LIMITS.sending);
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Action {
        Arrive(usize),
        Receive(usize),
        Send(u32),
        Complete(usize),
        Settle,
        Close,
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            3 => (1usize..40).prop_map(Action::Arrive),
            3 => (0usize..40).prop_map(Action::Receive),
            3 => (1u32..6).prop_map(Action::Send),
            2 => (1usize..40).prop_map(Action::Complete),
            1 => Just(Action::Settle),
            1 => Just(Action::Close),
        ]
    }

    proptest! {
        #[test]
        fn chunks_are_conserved_whatever_sockets_do(steps in prop::collection::vec((0..usize::from(SEATS), action()), 1..200)) {
            let mut group = Group::new();
            for (index, action) in steps {
                group.act(index, action);
                group.assert_conserved();
            }
            (0..usize::from(SEATS)).for_each(|index| group.assert_served(index));
            (1..=SEATS).for_each(|seat| group.depot.reclaim(seat));
            prop_assert_eq!(group.depot.free(), usize::from(CHUNKS));
        }
    }

    #[test]
    fn sockets_that_are_flooded_come_to_have_as_much_whoever_was_first() {
        let mut group = Group::new();
        let flood = |group: &mut Group, index: usize| {
            for _ in 0..10 {
                group.act(index, Action::Arrive(usize::MAX));
                group.act(index, Action::Receive(usize::MAX));
            }
        };
        let lent = |group: &Group, index: usize| group.sockets[index].as_ref().unwrap().fill.len();
        flood(&mut group, 0);
        assert_eq!((lent(&group, 0), lent(&group, 1)), (8 + 17, 8), "two thirds of what is nobody's own");
        for _ in 0..10 {
            (0..3).for_each(|index| flood(&mut group, index));
            (0..3).for_each(|index| group.act(index, Action::Settle));
        }
        let lent: Vec<_> = (0..3).map(|index| lent(&group, index)).collect();
        assert!(lent.iter().all(|lent| (13..=16).contains(lent)), "{lent:?}");
        group.assert_served(3);
    }

    #[test]
    fn a_flooded_port_and_a_stuck_one_leave_the_others_their_own_and_more() {
        let mut group = Group::new();
        for _ in 0..100 {
            for index in 0..2 {
                group.act(index, Action::Arrive(usize::MAX));
                group.act(index, Action::Receive(usize::MAX));
            }
            group.act(2, Action::Send(1));
        }
        group.assert_conserved();
        let more = |group: &Group, index: usize| group.sockets[index].as_ref().unwrap().more();
        assert!(more(&group, 0) >= 10 && more(&group, 2) >= 1, "who needs more gets it");
        assert!(group.depot.free() > 0);
        group.assert_served(3);
    }

    #[test]
    fn a_socket_has_more_while_it_is_busy_and_gives_it_back() {
        let mut group = Group::new();
        (1..4).for_each(|index| group.act(index, Action::Close));
        let socket = group.sockets[0].as_mut().unwrap();
        assert_eq!(socket.fill.len(), 8);
        for expected in [16, 32, 32] {
            socket.arrive(usize::MAX);
            socket.receive(usize::MAX);
            assert_eq!(socket.fill.len(), expected);
        }
        assert!(socket.send(5));
        socket.complete(5);
        // A frame a second: what was lent comes back with it.
        for _ in 0..60 {
            socket.arrive(1);
            socket.receive(1);
            socket.stock.settle();
        }
        assert_eq!((socket.fill.len(), socket.more()), (8, 0));
        group.assert_conserved();
    }

    #[test]
    fn a_little_traffic_needs_no_more() {
        let mut group = Group::new();
        let socket = group.sockets[0].as_mut().unwrap();
        for _ in 0..100 {
            socket.arrive(3);
            socket.receive(3);
            assert!(socket.send(1));
            socket.complete(1);
        }
        assert_eq!((socket.fill.len(), socket.more()), (8, 0));
    }

    #[test]
    fn frames_of_more_pieces_get_more_chunks() {
        let mut group = Group::new();
        let socket = group.sockets[0].as_mut().unwrap();
        socket.stock.expect(12);
        socket.receive(0);
        assert_eq!(socket.fill.len(), 12);
        (0..10).for_each(|_| socket.stock.settle());
        socket.arrive(12);
        socket.receive(12);
        assert!(socket.fill.len() >= 12, "{}", socket.fill.len());
    }

    #[test]
    fn there_is_no_place_without_enough_for_it() {
        let depot = Arc::new(Depot::new(15));
        let first = Socket::new(&depot, 1).unwrap();
        assert!(Socket::new(&depot, 2).is_none());
        assert_eq!(depot.free(), 15 - first.chunks().len());
        depot.reclaim(1);
        assert!(Socket::new(&depot, 2).is_some());
    }

    #[test]
    fn sockets_of_many_threads_conserve_chunks_too() {
        let mut group = Group::new();
        let mut sockets: Vec<_> = group.sockets.iter_mut().flatten().collect();
        sockets.iter_mut().for_each(|socket| socket.alone = false);
        std::thread::scope(|scope| {
            for (i, socket) in sockets.into_iter().enumerate() {
                scope.spawn(move || {
                    for round in 0..if cfg!(miri) { 20 } else { 5_000 } {
                        socket.arrive(round * (i + 1) % 40);
                        socket.receive(usize::MAX);
                        socket.send(1 + round as u32 % 3);
                        socket.complete(round % 5);
                        if round % 7 == i {
                            socket.stock.settle();
                        }
                    }
                });
            }
        });
        group.assert_conserved();
        (1..=SEATS).for_each(|seat| group.depot.reclaim(seat));
        group.sockets.clear();
        group.assert_conserved();
    }
}
