//! Frames on their way together.
#![expect(unsafe_code, reason = "moving frames out of a vector whole")]

use super::Frame;
use std::ops::{Deref, DerefMut};

/// Frames that go through a phase together. Its capacity is fixed when it is made; it never grows.
#[derive(Debug)]
pub struct Batch {
    frames: Vec<Frame>,
    limit: usize,
}

impl Batch {
    /// An empty batch of at most `limit` frames.
    pub fn new(limit: usize) -> Batch {
        Batch { frames: Vec::with_capacity(limit), limit }
    }

    /// A batch that takes no frames, and no memory.
    pub(crate) const fn none() -> Batch {
        Batch { frames: Vec::new(), limit: 0 }
    }

    /// Takes at most `limit` frames from now on, and never more than it was made for.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(self.frames.capacity());
    }

    /// How many more frames fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.limit - self.frames.len()
    }

    /// Adds a frame, or gives it back when the batch is full.
    ///
    /// # Errors
    /// The frame itself.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.frames.len() == self.limit {
            return Err(frame);
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Takes as many frames as fit from the front of `frames`.
    #[inline]
    pub fn take_from(&mut self, frames: &mut Vec<Frame>) {
        if frames.len() <= self.room() {
            return self.frames.append(frames);
        }
        self.frames.extend(frames.drain(..self.limit - self.frames.len()));
    }

    /// Moves all frames to the end of `frames`.
    #[inline]
    pub fn move_to(&mut self, frames: &mut Vec<Frame>) {
        frames.append(&mut self.frames);
    }

    /// Adds a frame to a batch that is known to have room.
    #[inline(always)]
    pub(crate) fn push_within(&mut self, frame: Frame) {
        debug_assert!(self.frames.len() < self.limit);
        self.frames.push(frame);
    }

    /// Takes all frames out, in order.
    #[inline]
    pub fn drain(&mut self) -> std::vec::Drain<'_, Frame> {
        self.frames.drain(..)
    }

    /// Hands every frame to `take`, in order, with its position. Faster than draining: a frame moves whole, without
    /// passing through an `Option`.
    #[inline(always)]
    pub(crate) fn consume(&mut self, mut take: impl FnMut(usize, Frame)) {
        self.consume_while(|i, frame| {
            take(i, frame);
            true
        });
    }

    /// The same until `take` says false; the frames behind stay.
    #[inline(always)]
    pub(crate) fn consume_while(&mut self, mut take: impl FnMut(usize, Frame) -> bool) {
        let n = self.frames.len();
        let mut i = 0;
        // SAFETY: the first `n` frames are initialised; with the length at 0 the vector no longer owns them, and each is
        // read once. Should `take` panic, the rest leaks, which is sound. What was not read moves to the front, and is the
        // vector's again.
        unsafe {
            self.frames.set_len(0);
            let start = self.frames.as_mut_ptr();
            while i < n {
                let goes_on = take(i, start.add(i).read());
                i += 1;
                if !goes_on {
                    std::ptr::copy(start.add(i), start, n - i);
                    self.frames.set_len(n - i);
                    break;
                }
            }
        }
    }

    /// Takes one frame out; those behind it move up.
    pub fn remove(&mut self, i: usize) -> Frame {
        self.frames.remove(i)
    }
}

impl Deref for Batch {
    type Target = [Frame];
    #[inline]
    fn deref(&self) -> &[Frame] {
        &self.frames
    }
}

impl DerefMut for Batch {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Frame] {
        &mut self.frames
    }
}
