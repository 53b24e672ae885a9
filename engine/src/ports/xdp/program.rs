//! The XDP program: hands each frame to the socket of the queue it came by.
//!
//! ```text
//!      r6 = ctx
//!      r1 = sockets                          the plain part, `redirect`
//!      r2 = ctx->rx_queue_index
//!      r3 = XDP_PASS
//!      call bpf_redirect_map                 a queue without a socket leaves its frames to the kernel
//!      exit
//! ```
//!
//! A VLAN tag may stand beside the frame instead of in it: where the sender's kernel or the network card keeps it. It would
//! be lost. Where the kernel lets a program ask for it (Linux 6.8, driver mode, drivers with metadata: veth, and some
//! network cards), `restore_tag` comes first and puts it back. A frame that the kernel is to keep is left as it is, since the
//! kernel still has the tag:
//!
//! ```text
//!      if bpf_map_lookup_elem(sockets, &ctx->rx_queue_index) == 0 goto redirect
//!      if bpf_xdp_metadata_rx_vlan_tag(ctx, &protocol, &tci) != 0 goto redirect
//!      if bpf_xdp_adjust_head(ctx, -4) != 0 goto drop
//!      if ctx->data + 18 > ctx->data_end goto drop
//!      move both addresses 4 bytes forward, write protocol and tci behind them
//! ```

use std::os::fd::{AsRawFd, BorrowedFd};

/// An instruction (`struct bpf_insn`, include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
pub(super) struct Instruction {
    opcode: u8,
    /// The target register in the low half, the source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Registers. `R1` to `R5` carry arguments, `R0` the result; `FP` is the end of the stack.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const CTX: u8 = 6;
const FP: u8 = 10;

/// Sizes of loads and stores (`BPF_W`, `BPF_H`, `BPF_DW`).
const U32: u8 = 0x00;
const U16: u8 = 0x08;
const U64: u8 = 0x18;

/// `BPF_PSEUDO_MAP_FD` and `BPF_PSEUDO_KFUNC_CALL`: what the immediate means.
const MAP_FD: u8 = 1;
const KERNEL_FUNCTION: u8 = 2;
/// `BPF_FUNC_map_lookup_elem`, `BPF_FUNC_redirect_map` and `BPF_FUNC_xdp_adjust_head`.
const LOOKUP: i32 = 1;
const REDIRECT_MAP: i32 = 51;
const ADJUST_HEAD: i32 = 44;
/// Offsets in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
const RX_QUEUE_INDEX: i16 = 16;
/// Actions.
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
/// Where on the stack the queue's number is, and the tag is told.
const QUEUE: i16 = -12;
const PROTOCOL: i16 = -8;
const TCI: i16 = -4;

/// The program over the map `sockets`, an XSKMAP by queue. `rx_vlan_tag` is the number of the kernel's function of that
/// name, where it may be called.
pub(super) fn program(sockets: BorrowedFd<'_>, rx_vlan_tag: Option<u32>) -> Vec<Instruction> {
    let (begin, redirect) = ([mov_register(CTX, R1)], redirect(sockets));
    match rx_vlan_tag {
        Some(id) => {
            let drop = [mov(R0, XDP_DROP), EXIT];
            [&begin[..], &restore_tag(sockets, id, redirect.len() as i16), &redirect, &drop].concat()
        }
        None => [&begin[..], &redirect].concat(),
    }
}

fn redirect(sockets: BorrowedFd<'_>) -> [Instruction; 6] {
    [load(U32, R2, CTX, RX_QUEUE_INDEX), load_map(R1, sockets), WIDE, mov(R3, XDP_PASS), call(0, REDIRECT_MAP), EXIT]
}

/// Behind it comes a part of `between` instructions, and behind that what drops the frame.
fn restore_tag(sockets: BorrowedFd<'_>, rx_vlan_tag: u32, between: i16) -> [Instruction; 36] {
    // Jumps count from the next instruction.
    let (redirect, drop) = (|from: i16| 35 - from, |from: i16| 35 - from + between);
    [
        load(U32, R2, CTX, RX_QUEUE_INDEX),
        store(U32, FP, QUEUE, R2),
        load_map(R1, sockets),
        WIDE,
        mov_register(R2, FP),
        add(R2, QUEUE.into()),
        call(0, LOOKUP),
        jump_if_zero(R0, redirect(7)),
        instruction(0x62 | U64, FP, 0, PROTOCOL, 0),
        mov_register(R1, CTX),
        mov_register(R2, FP),
        add(R2, PROTOCOL.into()),
        mov_register(R3, FP),
        add(R3, TCI.into()),
        call(KERNEL_FUNCTION, rx_vlan_tag.cast_signed()),
        jump_unless_zero(R0, redirect(15)),
        mov_register(R1, CTX),
        mov(R2, -4),
        call(0, ADJUST_HEAD),
        jump_unless_zero(R0, drop(19)),
        load(U32, R1, CTX, DATA),
        load(U32, R2, CTX, DATA_END),
        mov_register(R3, R1),
        add(R3, 18),
        jump_if_greater(R3, R2, drop(24)),
        load(U32, R4, R1, 4),
        store(U32, R1, 0, R4),
        load(U32, R4, R1, 8),
        store(U32, R1, 4, R4),
        load(U32, R4, R1, 12),
        store(U32, R1, 8, R4),
        load(U16, R4, FP, PROTOCOL),
        store(U16, R1, 12, R4),
        load(U16, R4, FP, TCI),
        to_network_order_u16(R4),
        store(U16, R1, 14, R4),
    ]
}

/// The second half of an instruction with a wide immediate.
const WIDE: Instruction = instruction(0, 0, 0, 0, 0);
const EXIT: Instruction = instruction(0x95, 0, 0, 0, 0);

const fn load(size: u8, target: u8, base: u8, offset: i16) -> Instruction {
    instruction(0x61 | size, target, base, offset, 0)
}

const fn store(size: u8, base: u8, offset: i16, source: u8) -> Instruction {
    instruction(0x63 | size, base, source, offset, 0)
}

const fn mov(target: u8, value: i32) -> Instruction {
    instruction(0xb7, target, 0, 0, value)
}

const fn mov_register(target: u8, source: u8) -> Instruction {
    instruction(0xbf, target, source, 0, 0)
}

const fn add(target: u8, value: i32) -> Instruction {
    instruction(0x07, target, 0, 0, value)
}

const fn to_network_order_u16(target: u8) -> Instruction {
    instruction(0xdc, target, 0, 0, 16)
}

const fn call(kind: u8, function: i32) -> Instruction {
    instruction(0x85, 0, kind, 0, function)
}

fn load_map(target: u8, map: BorrowedFd<'_>) -> Instruction {
    instruction(0x18, target, MAP_FD, 0, map.as_raw_fd())
}

const fn jump_if_zero(register: u8, offset: i16) -> Instruction {
    instruction(0x15, register, 0, offset, 0)
}

const fn jump_unless_zero(register: u8, offset: i16) -> Instruction {
    instruction(0x55, register, 0, offset, 0)
}

const fn jump_if_greater(left: u8, right: u8, offset: i16) -> Instruction {
    instruction(0x2d, left, right, offset, 0)
}

const fn instruction(opcode: u8, target: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { opcode, registers: target | source << 4, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use zerocopy::IntoBytes;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_plain_program_is_encoded_as_the_kernel_reads_it() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut expected = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x61, 0x62, 0x10, 0, 0, 0, 0, 0],
            [0x18, 0x11, 0, 0, 0, 0, 0, 0],
            [0; 8],
            [0xb7, 0x03, 0, 0, 2, 0, 0, 0],
            [0x85, 0, 0, 0, 51, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        expected[2][4..].copy_from_slice(&file.as_raw_fd().to_le_bytes());
        assert_eq!(program(file.as_fd(), None).as_bytes(), expected.as_flattened());
    }

    #[test]
    fn every_jump_leads_where_it_should() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let code = program(file.as_fd(), Some(1));
        let target = |from: usize| &code[(from as i16 + 1 + code[from].offset) as usize];
        let jumps: Vec<usize> = (0..code.len()).filter(|&i| matches!(code[i].opcode, 0x15 | 0x55 | 0x2d)).collect();
        assert_eq!((code.len(), jumps.len()), (45, 4));
        let plain = program(file.as_fd(), None);
        assert!(jumps[..2].iter().all(|&jump| std::ptr::eq(target(jump), &code[37]) && code[37..43] == plain[1..]));
        assert!(jumps[2..].iter().all(|&jump| *target(jump) == mov(R0, XDP_DROP)));
    }
}
