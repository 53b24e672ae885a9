//! The Internet checksum (RFC 1071).
//!
//! A *sum* here is the one's-complement sum of 16-bit words in network byte order, folded to 16 bits and not inverted. The
//! sum of bytes that are not all zero is never 0. A byte that is left over counts as the high half of a word.

use super::Unfit;
use crate::frame::Csum;
use crate::wire::ethernet::IPV4;
use crate::wire::transport::Transport;

/// Bytes of one step of the wide loop, which the compiler turns into vector additions.
const STEP: usize = 64;
/// 64-bit words of a step.
const LANES: usize = STEP / 8;

/// The sum of `bytes`, at most 64 GiB.
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    let (steps, rest) = bytes.as_chunks::<STEP>();
    let wide = if steps.is_empty() { 0 } else { sum_steps(steps) };
    u16::from_be(fold(wide + sum_short(rest)))
}

/// The one's-complement sum of two sums.
#[inline]
pub fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// `a` less `b`: adds the complement (RFC 1624, equation 3).
#[inline]
pub(super) fn subtract(a: u16, b: u16) -> u16 {
    add(a, !b)
}

/// The sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1) for `len` bytes from `transport.start` on.
#[inline]
pub fn pseudo_header(frame: &[u8], transport: &Transport, len: usize) -> u16 {
    let at = transport.network;
    let addresses = if transport.ethertype == IPV4 { at + 12..at + 20 } else { at + 8..at + 40 };
    let length = u16::from_be(fold((len as u64).to_be()));
    add(add(sum(&frame[addresses]), length), transport.protocol.into())
}

/// Completes a partial checksum. A result of 0 is written as 0xffff, the same in one's complement, because UDP means
/// "none" by 0 (`skb_checksum_help` in net/core/dev.c).
///
/// # Errors
/// [`Unfit`] when the checksum begins or lands outside the frame, which is then unchanged.
#[inline]
pub fn complete(frame: &mut [u8], csum: Csum) -> Result<(), Unfit> {
    let start = usize::from(csum.start);
    let summed = frame.get_mut(start..).ok_or(Unfit)?;
    let field = summed.get(usize::from(csum.offset)..).and_then(<[u8]>::first_chunk::<2>);
    if field.is_none() {
        return Err(Unfit);
    }
    let checksum = nonzero(!sum(summed));
    put(summed, csum.offset.into(), checksum);
    Ok(())
}

/// The other zero of one's complement.
#[inline]
pub(super) fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Reads a 16-bit field that is known to be inside.
#[inline]
pub(super) fn get(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes a 16-bit field that is known to be inside.
#[inline]
pub(super) fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Writes the checksum of an IPv4 header of `len` bytes.
#[inline]
pub(super) fn seal_ipv4(frame: &mut [u8], at: usize, len: usize) {
    put(frame, at + 10, 0);
    let checksum = !sum(&frame[at..at + len]);
    put(frame, at + 10, checksum);
}

/// Sums words of the machine's own byte order: swapping all bytes of the terms swaps those of the sum (RFC 1071, 2B).
/// Carries gather in the high halves of 64-bit lanes.
fn sum_steps(steps: &[[u8; STEP]]) -> u64 {
    let (mut low, mut high) = ([0u64; LANES], [0u64; LANES]);
    for step in steps {
        let (words, _) = step.as_chunks::<8>();
        for (lane, word) in words.iter().enumerate() {
            let word = u64::from_ne_bytes(*word);
            low[lane] += word & 0xffff_ffff;
            high[lane] += word >> 32;
        }
    }
    low.iter().chain(&high).sum()
}

/// The same for fewer bytes than a step.
#[inline]
fn sum_short(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let long: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let (pairs, last) = rest.as_chunks::<2>();
    let short: u64 = pairs.iter().map(|pair| u64::from(u16::from_ne_bytes(*pair))).sum();
    long + short + last.first().map_or(0, |&byte| u64::from(u16::from_ne_bytes([byte, 0])))
}

/// Folds the carries of a sum back in.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071, section 4.1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn a_result_of_zero_is_written_as_its_other_form() {
        let mut frame = [0xff, 0xff, 0, 0];
        complete(&mut frame, Csum { start: 0, offset: 2 }).unwrap();
        assert_eq!(frame, [0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn a_checksum_outside_the_frame_is_refused() {
        let mut frame = [7; 60];
        for (start, offset) in [(60, 0), (61, 0), (0xffff, 0xffff), (34, 25), (34, 26), (58, 1), (0, 59)] {
            assert_eq!(complete(&mut frame, Csum { start, offset }), Err(Unfit), "{start} {offset}");
            assert_eq!(frame, [7; 60]);
        }
        assert_eq!(complete(&mut [], Csum { start: 0, offset: 0 }), Err(Unfit));
        assert!(complete(&mut frame, Csum { start: 58, offset: 0 }).is_ok());
    }

    proptest! {
        #[test]
        fn the_sum_is_the_naive_one(bytes in prop::collection::vec(any::<u8>(), 0..3000), extreme: bool) {
            let bytes = if extreme { vec![0xff; bytes.len()] } else { bytes };
            prop_assert_eq!(sum(&bytes), naive(&bytes));
        }

        #[test]
        fn what_is_completed_sums_to_all_ones(mut frame in prop::collection::vec(any::<u8>(), 2..2000), at: u16, offset: u16) {
            let start = at % (frame.len() as u16 - 1);
            let room = frame.len() as u16 - start - 1;
            let csum = Csum { start, offset: (offset % room) & !1 };
            let field = usize::from(start + csum.offset);
            frame[field..field + 2].fill(0);
            let expected = nonzero(!naive(&frame[start.into()..]));
            complete(&mut frame, csum).unwrap();
            prop_assert_eq!(get(&frame, field), expected);
            prop_assert!(naive(&frame[start.into()..]) == 0xffff);
        }

        #[test]
        fn hostile_offsets_never_panic(mut frame in prop::collection::vec(any::<u8>(), 0..200), start: u16, offset: u16, near: bool) {
            let (start, offset) = if near { (start % 256, offset % 256) } else { (start, offset) };
            let fits = usize::from(start) + usize::from(offset) + 2 <= frame.len();
            prop_assert_eq!(complete(&mut frame, Csum { start, offset }).is_ok(), fits);
        }
    }
}
