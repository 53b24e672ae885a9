//! What spreads addresses over buckets.

use ahash::RandomState;

/// A hash with keys of its own in every table: addresses are not trusted. Two multiplications whose halves are folded, as in
/// aHash and foldhash: after one, addresses that follow each other may fall on few buckets.
#[derive(Clone, Copy)]
pub(super) struct KeyedHash {
    seed: u64,
    factor: u64,
}

/// The fraction of pi, as aHash has it.
const SECOND: u64 = 0x243f_6a88_85a3_08d3;

impl KeyedHash {
    /// Keys that nobody can know.
    pub fn new() -> KeyedHash {
        let random = RandomState::new();
        // An odd factor with bits in both halves.
        KeyedHash { seed: random.hash_one(0u64), factor: random.hash_one(1u64) | 1 << 62 | 1 }
    }

    #[inline(always)]
    pub fn hash(self, who: u64) -> u64 {
        fold(fold(who ^ self.seed, self.factor), SECOND)
    }
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    wide as u64 ^ (wide >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses that follow each other, differ in one byte only, or come from makers' blocks, fall into all buckets alike.
    #[test]
    fn plain_addresses_are_spread() {
        let families: [fn(u64) -> u64; 4] = [
            |n| 1 << 63 | n,
            |n| 1 << 63 | n << 40,
            |n| 1 << 63 | 0x02_42_ac | (n & 0xff) << 40 | (n >> 8) << 24,
            |n| 1 << 63 | (n & 0xfff) << 48 | 0x02 | (n >> 12) << 16,
        ];
        for _ in 0..200 {
            let hash = KeyedHash::new();
            for (f, who) in families.iter().enumerate() {
                let (count, mut buckets) = (if f == 1 { 256 } else { 4096 }, vec![0u32; 1024]);
                (0..count).for_each(|n| buckets[hash.hash(who(n)) as usize % 1024] += 1);
                // Of 4 a bucket on average, chance has 26 in one of a hundred thousand million.
                assert!(buckets.iter().all(|&n| n < 26), "family {f}: {:?}", buckets.iter().max());
            }
        }
    }
}
