//! Looks a function of the kernel up in the kernel's own type information (Documentation/bpf/btf.rst).

use std::fs;
use std::sync::OnceLock;

/// The kernel's types.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;

/// `bpf_xdp_metadata_rx_vlan_tag`, which tells an XDP program of the VLAN tag that the device took out (Linux 6.8).
pub(super) fn rx_vlan_tag() -> Option<u32> {
    static ID: OnceLock<Option<u32>> = OnceLock::new();
    *ID.get_or_init(|| function(&fs::read(VMLINUX).ok()?, b"bpf_xdp_metadata_rx_vlan_tag"))
}

/// The number of the function `name`.
fn function(btf: &[u8], name: &[u8]) -> Option<u32> {
    let (types, strings) = sections(btf)?;
    let mut rest = types;
    for id in 1.. {
        let record = Record::first(rest)?;
        if record.kind == FUNC && string(strings, record.name)? == name {
            return Some(id);
        }
        rest = rest.get(record.len()..)?;
    }
    None
}

/// The types and the strings, behind `struct btf_header`.
fn sections(btf: &[u8]) -> Option<(&[u8], &[u8])> {
    let header_len = word(btf, 4)? as usize;
    let section = |at: usize| {
        let (offset, len) = (word(btf, at)? as usize, word(btf, at + 4)? as usize);
        btf.get(header_len.checked_add(offset)?..)?.get(..len)
    };
    let magic = u16::from_ne_bytes(*btf.first_chunk()?);
    if magic == MAGIC { Some((section(8)?, section(16)?)) } else { None }
}

fn string(strings: &[u8], at: u32) -> Option<&[u8]> {
    strings.get(at as usize..)?.split(|&byte| byte == 0).next()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

/// `struct btf_type`: 12 bytes, and more by its kind.
struct Record {
    name: u32,
    kind: u32,
    members: usize,
}

const FUNC: u32 = 12;

impl Record {
    fn first(types: &[u8]) -> Option<Record> {
        let info = word(types, 4)?;
        Some(Record { name: word(types, 0)?, kind: info >> 24 & 0x1f, members: (info & 0xffff) as usize })
    }

    fn len(&self) -> usize {
        const INT: u32 = 1;
        const ARRAY: u32 = 3;
        const VAR: u32 = 14;
        const DECL_TAG: u32 = 17;
        12 + match self.kind {
            INT | VAR | DECL_TAG => 4,
            ARRAY => 12,
            // struct, union, datasec, enum64
            4 | 5 | 15 | 19 => 12 * self.members,
            // enum, function prototype
            6 | 13 => 8 * self.members,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An int, a struct of two members, and a function.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0pair\0wanted\0";
        let types: Vec<u32> =
            [vec![1, 1 << 24, 4, 32], vec![5, 4 << 24 | 2, 8, 1, 1, 0, 1, 1, 32], vec![10, 12 << 24, 1]].concat();
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut btf = [&MAGIC.to_ne_bytes()[..], &[1, 0]].concat();
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            btf.extend(word.to_ne_bytes());
        }
        [&btf, &types, &strings[..]].concat()
    }

    #[test]
    fn a_function_is_found_behind_other_types() {
        assert_eq!(function(&sample(), b"wanted"), Some(3));
        assert_eq!(function(&sample(), b"pair"), None, "no function");
        assert_eq!(function(&sample(), b"want"), None);
    }

    #[test]
    fn this_kernels_types_are_walked_to_their_end() {
        let Ok(btf) = fs::read(VMLINUX) else { return };
        assert!(function(&btf, b"bpf_xdp_metadata_rx_hash").is_some());
        assert_eq!(function(&btf, b"no such function"), None);
    }

    proptest! {
        #[test]
        fn damaged_types_do_no_harm(at in 0usize..100, byte: u8, len in 0usize..120) {
            let mut btf = sample();
            if let Some(place) = btf.get_mut(at) {
                *place = byte;
            }
            btf.truncate(len);
            let _ = function(&btf, b"wanted");
        }
    }
}
