//! MAC addresses for TAPs that are given none: the same ones again after every restart, on this machine.
//!
//! The address of a port is drawn from the machine's identity and the port's name alone. It is the first six bytes of
//! SipHash-2-4 over `crossdock port`, a zero byte, the name, another zero byte and a count in decimal; in the first byte the
//! bit for a group is cleared and the one for local administration set. The keys are the first and the last 16 digits of
//! `/etc/machine-id`. The count is 0, unless another port of this process has that address: then the next. Where there is
//! no machine-id, the keys are drawn from the name of the host.
//!
//! Two machines with one machine-id (copies of one disk) have the same addresses for the same names, as they do with
//! systemd: such an image is to be made without a machine-id (machine-id(5)).

use std::fs;

use crossdock_engine::wire::Mac;

/// What MAC addresses are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine([u64; 2]);

impl Machine {
    /// This one.
    pub fn this() -> Machine {
        let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let host = rustix::system::uname();
        Machine::of(id.trim(), &host.nodename().to_string_lossy())
    }

    fn of(id: &str, host: &str) -> Machine {
        match u128::from_str_radix(id, 16) {
            Ok(key) if id.len() == 32 => Machine(halves(key)),
            _ => {
                let half = |number| sip([number, 0], format!("no machine-id\0{host}").as_bytes());
                Machine([half(0), half(1)])
            }
        }
    }

    /// The address of a port, of those that are not `taken`.
    pub fn mac(self, port: &str, taken: impl Fn(Mac) -> bool) -> Mac {
        let draw = |count: u64| {
            let words = format!("crossdock port\0{port}\0{count}");
            let [a, b, c, d, e, f, ..] = sip(self.0, words.as_bytes()).to_le_bytes();
            Mac([a & !1 | 2, b, c, d, e, f])
        };
        (0..).map(draw).find(|mac| !taken(*mac)).unwrap_or_else(|| draw(0))
    }
}

fn halves(key: u128) -> [u64; 2] {
    [(key >> 64) as u64, key as u64]
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012).
fn sip(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut absorb = |word: u64| {
        state[3] ^= word;
        (0..2).for_each(|_| round(&mut state));
        state[0] ^= word;
    };
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().for_each(|word| absorb(u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    absorb(u64::from_le_bytes(last) | (bytes.len() as u64) << 56);
    state[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut state));
    state.into_iter().fold(0, |hash, word| hash ^ word)
}

fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_hash_is_that_of_its_authors() {
        // Key 00 01 ... 0f; of the inputs 00 01 ..., the first, the ninth and the last (vectors.h of the reference code).
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let input: Vec<u8> = (0..64).collect();
        assert_eq!(sip(key, &input[..0]), 0x726f_db47_dd0e_0e31);
        assert_eq!(sip(key, &input[..8]), 0x93f5_f579_9a93_2462);
        assert_eq!(sip(key, &input[..15]), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn an_address_depends_on_the_machine_and_the_name_alone() {
        let machine = Machine::of("3d1219c7c4c5404aaa1f6d2a48adfda4", "vm");
        let mac = |machine: Machine, name| machine.mac(name, |_| false).to_string();
        // Written down here: another address in another release would be another host to everybody.
        assert_eq!(mac(machine, "h1"), "6e:f2:a4:c8:6f:f1");
        assert_eq!(machine, Machine::of("3d1219c7c4c5404aaa1f6d2a48adfda4", "renamed"));
        let others = [Machine::of("", "vm"), Machine::of("", "vm2"), Machine::of("uninitialized", "vm3")];
        let macs: HashSet<_> = others.into_iter().chain([machine]).map(|machine| mac(machine, "h1")).collect();
        assert_eq!(macs.len(), 4);
    }

    #[test]
    fn addresses_are_unicast_locally_administered_and_differ() {
        let machine = Machine::of("3d1219c7c4c5404aaa1f6d2a48adfda4", "vm");
        let macs: HashSet<Mac> = (0..10_000).map(|n| machine.mac(&format!("p{n}"), |_| false)).collect();
        assert_eq!(macs.len(), 10_000);
        assert!(macs.iter().all(|mac| mac.0[0] & 3 == 2));
        let first = machine.mac("h1", |_| false);
        let second = machine.mac("h1", |mac| mac == first);
        assert!(second != first && second.0[0] & 3 == 2, "one that is taken is not given");
    }
}
