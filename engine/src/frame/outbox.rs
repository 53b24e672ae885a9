//! The end of a ring that puts frames in, for somebody else to take out.

use super::{Frame, Shares};
use rtrb::Producer;
use std::collections::VecDeque;

/// A ring towards somebody else, which holds no more of the frame memory than it may.
pub(crate) struct Outbox<T> {
    ring: Producer<T>,
    /// Frames ever put in.
    put: u64,
    /// The numbers of the super-frames among those that wait: they have memory of their own.
    supers: VecDeque<u64>,
}

impl<T: AsRef<Frame>> Outbox<T> {
    /// Over an empty ring.
    pub fn new(ring: Producer<T>) -> Outbox<T> {
        let supers = VecDeque::with_capacity(ring.buffer().capacity());
        Outbox { ring, put: 0, supers }
    }

    /// Frames that wait. Asked once for many that are put in, it is only too high.
    #[inline]
    pub fn held(&self) -> usize {
        self.ring.buffer().capacity() - self.ring.slots()
    }

    /// Puts a frame behind the `held` that wait. Gives it back where no more may wait.
    #[inline]
    pub fn put(&mut self, item: T, held: usize, shares: Shares) -> Result<(), T> {
        let is_super = item.as_ref().is_super();
        let counted = if is_super { self.supers(held) } else { held };
        if held >= self.ring.buffer().capacity() || !shares.admit(item.as_ref(), counted) {
            return Err(item);
        }
        self.ring.push(item).map_err(|rtrb::PushError::Full(item)| item)?;
        if is_super {
            self.supers.push_back(self.put);
        }
        self.put += 1;
        Ok(())
    }

    /// Super-frames among the `held` that wait.
    fn supers(&mut self, held: usize) -> usize {
        let taken = self.put - held as u64;
        while self.supers.pop_front_if(|number| *number < taken).is_some() {}
        self.supers.len()
    }
}
