//! The forwarding database against plain models.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn fdb(fdb_max: usize, ageing_s: u32) -> Fdb {
    Fdb::new(&Domain { fdb_max, ageing_s, ..Domain::new("lan") }).unwrap()
}

fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

#[test]
fn learn_lookup_move() {
    let mut fdb = fdb(8, 300);
    assert_eq!(fdb.learn(mac(1), PortId(1), Millis(0)), Learned::New);
    assert_eq!(fdb.learn(mac(1), PortId(1), Millis(1)), Learned::Known);
    assert_eq!(fdb.learn(mac(1), PortId(2), Millis(2)), Learned::Moved);
    assert_eq!(fdb.lookup(mac(1)), Some(PortId(2)));
    assert_eq!(fdb.lookup(mac(2)), None);
}

#[test]
fn ageing_counts_from_the_last_sighting() {
    let mut fdb = fdb(8, 10);
    fdb.learn(mac(1), PortId(1), Millis(0));
    fdb.learn(mac(2), PortId(1), Millis(0));
    fdb.refresh(mac(1), PortId(1), Millis(5_000));
    assert_eq!(fdb.expire(Millis(10_000)), 0);
    assert_eq!(fdb.expire(Millis(10_001)), 1);
    assert_eq!((fdb.lookup(mac(1)), fdb.lookup(mac(2))), (Some(PortId(1)), None));
    assert_eq!(fdb.expire(Millis(15_001)), 1);
}

#[test]
fn a_flooder_displaces_only_itself() {
    let mut fdb = fdb(100, 300);
    (0..10).for_each(|n| _ = fdb.learn(mac(n), PortId(1), Millis(0)));
    for n in 1000..5000 {
        fdb.learn(mac(n), PortId(2), Millis(n));
    }
    assert_eq!(fdb.len(), 100);
    assert!((0..10).all(|n| fdb.lookup(mac(n)) == Some(PortId(1))));
    assert_eq!(fdb.lookup(mac(4999)), Some(PortId(2)));
}

#[test]
fn fixed_entries_stay() {
    let mut fdb = fdb(2, 300);
    fdb.set_fixed(mac(1), PortId(1), Millis(0));
    assert_eq!(fdb.learn(mac(1), PortId(2), Millis(1)), Learned::Fixed);
    assert_eq!(fdb.expire(Millis(u32::MAX / 2)) + fdb.flush_port(PortId(1)), 0);
    fdb.set_fixed(mac(2), PortId(1), Millis(0));
    assert_eq!(fdb.learn(mac(3), PortId(2), Millis(1)), Learned::Full, "all fixed: nothing to evict");
    assert_eq!(fdb.lookup(mac(1)), Some(PortId(1)));
}

#[test]
fn a_jumping_address_is_pinned_to_where_it_was() {
    let mut fdb = fdb(8, 300);
    fdb.learn(mac(1), PortId(1), Millis(0));
    let jumps: Vec<_> = (0..20).map(|i| fdb.learn(mac(1), PortId(2 + i % 2), Millis(5))).collect();
    assert!(jumps.contains(&Learned::Pinned) && jumps.ends_with(&[Learned::Refused]));
    assert_eq!(fdb.lookup(mac(1)), Some(PortId(1)));
}

#[derive(Clone, Debug)]
enum Op {
    Learn(u32, u16),
    Flush(u16),
    Age,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (0u32..60, 0u16..4).prop_map(|(m, p)| Op::Learn(m, p)),
        1 => (0u16..4).prop_map(Op::Flush),
        2 => Just(Op::Age),
    ]
}

proptest! {
    /// Against a plain map that is never full: the same answers, whatever the order of events.
    #[test]
    fn like_a_map_with_timestamps(ops in proptest::collection::vec(op(), 1..400)) {
        let mut fdb = fdb(64, 20);
        let mut model: HashMap<u32, (u16, u32)> = HashMap::new();
        for (i, op) in ops.into_iter().enumerate() {
            // Slower than the flap guard's window allows for.
            let now = i as u32 * 1100;
            match op {
                Op::Learn(m, p) => {
                    fdb.learn(mac(m + 1), PortId(p), Millis(now));
                    model.insert(m + 1, (p, now));
                }
                Op::Flush(p) => {
                    fdb.flush_port(PortId(p));
                    model.retain(|_, (port, _)| *port != p);
                }
                Op::Age => {
                    fdb.expire(Millis(now));
                    model.retain(|_, (_, seen)| now - *seen <= 20_000);
                }
            }
            prop_assert_eq!(fdb.len(), model.len());
            for (&m, &(p, _)) in &model {
                prop_assert_eq!(fdb.lookup(mac(m)), Some(PortId(p)));
            }
        }
        let (entries, rest) = fdb.page(0, 1000);
        prop_assert!(rest.is_none() && entries.len() == model.len());
    }
}
