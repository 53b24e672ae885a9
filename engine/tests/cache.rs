//! The flow cache changes nothing: what happens to a frame does not depend on whether its flow is cached, nor on the
//! batch that it came with. Whole lives of a switch are run with and without, and compared byte by byte.
#![cfg(test)]

mod support;

use crossdock_engine::worker::{WithoutCache, WorkerConfig};
use proptest::prelude::*;
use support::scenario::{Pace, difference, life, live};

fn config(batch: usize, flows: usize, cache: bool) -> WorkerConfig {
    WorkerConfig { batch, flows, cache, direct: WithoutCache::Never, ..WorkerConfig::default() }
}

/// Frames between known stations never ask the cache.
fn direct(batch: usize) -> WorkerConfig {
    WorkerConfig { direct: WithoutCache::Always, ..config(batch, 256, true) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// The same bytes with the same offload on the same ports in the same order, and the same drops at the same ports.
    #[test]
    fn the_cache_changes_nothing(life in life(60), batch in prop_oneof![Just(1usize), Just(4), Just(64)]) {
        let [with, without] = [true, false].map(|cache| live(&life, config(batch, 256, cache), Pace::Rounds));
        prop_assert_eq!(difference(&with, &without), None);
    }

    /// Nor does it change anything that frames are decided by the forwarding database alone, without stages and programs.
    #[test]
    fn the_direct_way_changes_nothing(mut life in life(60), batch in prop_oneof![Just(1usize), Just(4), Just(64)]) {
        // Stages of the embedding program must see every frame.
        life.stages = false;
        let [with, without] = [direct(batch), config(batch, 256, false)].map(|config| live(&life, config, Pace::Rounds));
        prop_assert_eq!(difference(&with, &without), None);
    }

    #[test]
    fn the_batch_size_changes_nothing(life in life(60)) {
        let one = live(&life, config(1, 256, false), Pace::PortByPort);
        for (batch, cache) in [(1, true), (3, true), (64, true), (64, false)] {
            prop_assert_eq!(difference(&live(&life, config(batch, 256, cache), Pace::PortByPort), &one), None);
        }
        prop_assert_eq!(difference(&live(&life, direct(64), Pace::PortByPort), &one), None);
    }

    /// A cache so small that flows displace each other all the time. What was seen from a displaced flow since the last
    /// second is lost to ageing, so nothing ages here.
    #[test]
    fn a_tiny_cache_changes_nothing(mut life in life(60)) {
        life.ageing_s = 100_000;
        let [with, without] = [true, false].map(|cache| live(&life, config(64, 1, cache), Pace::Rounds));
        prop_assert_eq!(difference(&with, &without), None);
    }
}
