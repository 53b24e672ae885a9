//! Instructions that have no safe form in the language: cache hints and eight comparisons at once.
#![expect(unsafe_code, reason = "processor intrinsics")]

/// Hints that the cache line at `p` is read soon.
#[inline(always)]
pub fn prefetch<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: PREFETCHT0 never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// One bit per lane that equals `value`, the first lane lowest.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
pub fn equal_lanes(lanes: &[u16; 8], value: u16) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16};
    use std::arch::x86_64::{_mm_set1_epi16, _mm_setzero_si128};
    // SAFETY: SSE2 is part of every x86-64 processor, and the load reads exactly the sixteen bytes of `lanes`.
    unsafe {
        let all = _mm_loadu_si128(lanes.as_ptr().cast());
        let equal = _mm_cmpeq_epi16(all, _mm_set1_epi16(value.cast_signed()));
        _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())).cast_unsigned()
    }
}

/// One bit per lane that equals `value`, the first lane lowest.
#[cfg(not(target_arch = "x86_64"))]
pub fn equal_lanes(lanes: &[u16; 8], value: u16) -> u32 {
    lanes.iter().enumerate().fold(0, |bits, (i, &lane)| bits | (u32::from(lane == value) << i))
}

#[cfg(test)]
mod tests {
    use super::equal_lanes;

    #[test]
    fn lanes_in_order() {
        let lanes = [7, 0, 7, 0xffff, 0x8000, 1, 2, 7];
        assert_eq!(equal_lanes(&lanes, 7), 0b1000_0101);
        assert_eq!(equal_lanes(&lanes, 0xffff), 0b1000);
        assert_eq!(equal_lanes(&lanes, 0x8000), 0b1_0000);
        assert_eq!(equal_lanes(&lanes, 3), 0);
    }
}
