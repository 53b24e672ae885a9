//! Runs a program on a frame: the only place that writes packet bytes.

use crate::drop::DropReason;
use crate::flow::PortId;
use crate::frame::{Frame, Offload, Pool};
use crate::program::Action;
use crate::wire::Mac;
use crate::wire::ethernet::{HEADER_LEN, VLAN_TAG_LEN};
use crate::wire::vlan::Tag;

/// Bytes of both addresses: where the first tag stands.
const ADDRESSES: usize = 12;
/// Bytes of both addresses and a tag.
const TAGGED: usize = ADDRESSES + VLAN_TAG_LEN;

/// Where frames go that leave a program.
pub trait Egress {
    /// Takes a frame towards a port.
    fn output(&mut self, port: PortId, frame: Frame, pool: &mut Pool);
    /// Takes a copy of a frame towards a port, or counts why not.
    fn output_copy(&mut self, port: PortId, frame: &mut Frame, pool: &mut Pool);
    /// Ends a frame.
    fn drop(&mut self, frame: Frame, reason: DropReason, pool: &mut Pool);
}

/// Runs `actions` in order. The last disposes of the frame; an `Output` before it sends a copy.
#[inline(always)]
pub fn execute(actions: &[Action], frame: Frame, egress: &mut impl Egress, pool: &mut Pool) {
    match *actions {
        [Action::Output(port)] => egress.output(port, frame, pool),
        [edit, Action::Output(port)] if !matches!(edit, Action::Output(_)) && frame.offload.is_none() => {
            let mut edited = frame.finished();
            match rewrite(edit, &mut edited) {
                Ok(()) => egress.output(port, edited, pool),
                Err(reason) => egress.drop(edited.finished(), reason, pool),
            }
        }
        _ => execute_all(actions, frame, egress, pool),
    }
}

/// Any program.
fn execute_all(actions: &[Action], mut frame: Frame, egress: &mut impl Egress, pool: &mut Pool) {
    let Some((last, rest)) = actions.split_last() else { return egress.drop(frame, DropReason::NoEgress, pool) };
    if let Err(reason) = execute_copies(rest, &mut frame, egress, pool) {
        return egress.drop(frame, reason, pool);
    }
    match *last {
        Action::Output(port) => egress.output(port, frame, pool),
        Action::Drop(reason) => egress.drop(frame, reason, pool),
        _ => egress.drop(frame, DropReason::NoEgress, pool),
    }
}

/// Runs `actions` in order on a frame that stays: every `Output` sends a copy.
///
/// # Errors
/// Why an edit cannot be made; the steps behind it are not run.
pub fn execute_copies(
    actions: &[Action],
    frame: &mut Frame,
    egress: &mut impl Egress,
    pool: &mut Pool,
) -> Result<(), DropReason> {
    for &action in actions {
        match action {
            Action::Output(port) => egress.output_copy(port, frame, pool),
            edit => rewrite(edit, frame)?,
        }
    }
    Ok(())
}

/// Edits the frame's bytes. Frames here have a whole Ethernet header, and the tags that the key told of: the parser saw
/// them.
#[inline(always)]
fn rewrite(action: Action, frame: &mut Frame) -> Result<(), DropReason> {
    match action {
        Action::PushVlan(tag) => push_vlan(frame, tag),
        Action::PopVlan => pop_vlan(frame),
        Action::SetVlan(tag) => write(frame, ADDRESSES, tag.to_bytes()),
        Action::SetEthDst(Mac(mac)) => write(frame, 0, mac),
        Action::SetEthSrc(Mac(mac)) => write(frame, 6, mac),
        Action::Output(_) | Action::Drop(_) => Ok(()),
    }
}

fn write<const N: usize>(frame: &mut Frame, at: usize, bytes: [u8; N]) -> Result<(), DropReason> {
    let field = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut()).ok_or(DropReason::Malformed)?;
    *field = bytes;
    Ok(())
}

/// The addresses move into the headroom, the tag stands behind them.
#[inline(always)]
pub(crate) fn push_vlan(frame: &mut Frame, tag: Tag) -> Result<(), DropReason> {
    shift(&mut frame.offload, VLAN_TAG_LEN as i16)?;
    if !frame.prepend(VLAN_TAG_LEN) {
        return Err(DropReason::NoHeadroom);
    }
    let header = frame.first_chunk_mut::<TAGGED>().ok_or(DropReason::Malformed)?;
    header.copy_within(VLAN_TAG_LEN.., 0);
    header[ADDRESSES..].copy_from_slice(&tag.to_bytes());
    Ok(())
}

/// The addresses move over the tag, whose room becomes headroom.
#[inline(always)]
fn pop_vlan(frame: &mut Frame) -> Result<(), DropReason> {
    shift(&mut frame.offload, -(VLAN_TAG_LEN as i16))?;
    let header = frame.first_chunk_mut::<TAGGED>().ok_or(DropReason::Malformed)?;
    header.copy_within(..ADDRESSES, VLAN_TAG_LEN);
    if frame.strip(VLAN_TAG_LEN) { Ok(()) } else { Err(DropReason::Malformed) }
}

/// Moves what is left undone by `by` bytes, as the network header moves. It stays behind the Ethernet header.
#[inline(always)]
fn shift(offload: &mut Offload, by: i16) -> Result<(), DropReason> {
    let moved = |at: u16| at.checked_add_signed(by).filter(|&at| usize::from(at) >= HEADER_LEN);
    if let Some(csum) = &mut offload.csum {
        csum.start = moved(csum.start).ok_or(DropReason::BadVnetHeader)?;
    }
    if let Some(gso) = &mut offload.gso {
        gso.hdr_len = moved(gso.hdr_len).ok_or(DropReason::BadVnetHeader)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Arena, Csum, Gso, GsoKind};
    use crate::wire::vlan::{Tci, Tpid};

    const TAG: Tag = Tag::new(Tpid::CUSTOMER, Tci(0x6064));

    fn with_frame(bytes: &[u8], offload: Offload, test: impl FnOnce(&mut Frame)) {
        let arena = Arena::new(64, 32).unwrap();
        let mut pool = arena.pool(64, 32);
        let mut frame = pool.alloc(bytes.len()).unwrap();
        assert!(frame.fill(bytes));
        frame.offload = offload;
        test(&mut frame);
        pool.free(frame);
    }

    #[test]
    fn push_set_and_pop_move_bytes_and_offsets() {
        let bytes: Vec<u8> = (0..64).collect();
        let gso = Some(Gso { size: 1448, hdr_len: 54, kind: GsoKind::Tcp4, ecn: false });
        let offload = Offload { csum: Some(Csum { start: 34, offset: 16 }), gso };
        with_frame(&bytes, offload, |frame| {
            assert_eq!(rewrite(Action::PushVlan(TAG), frame), Ok(()));
            assert_eq!(frame[..], [&bytes[..12], &[0x81, 0, 0x60, 0x64], &bytes[12..]].concat());
            assert_eq!((frame.offload.csum.unwrap().start, frame.offload.gso.unwrap().hdr_len), (38, 58));
            let service = Tag::new(Tpid::SERVICE, Tci(7));
            assert_eq!(rewrite(Action::SetVlan(service), frame), Ok(()));
            assert_eq!(frame[..18], [&bytes[..12], &[0x88, 0xa8, 0, 7], &bytes[12..14]].concat());
            assert_eq!(rewrite(Action::PopVlan, frame), Ok(()));
            assert_eq!((&frame[..], frame.offload), (&bytes[..], offload));
        });
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let at = |start| Offload { csum: Some(Csum { start, offset: 0 }), gso: None };
        with_frame(&[0; 64], at(u16::MAX), |frame| {
            assert_eq!(rewrite(Action::PushVlan(TAG), frame), Err(DropReason::BadVnetHeader));
        });
        with_frame(&[0; 64], at(16), |frame| {
            assert_eq!(rewrite(Action::PopVlan, frame), Err(DropReason::BadVnetHeader));
        });
        with_frame(&[0; 64], Offload::default(), |frame| {
            assert!(frame.prepend(frame.headroom() - 3));
            assert_eq!(rewrite(Action::PushVlan(TAG), frame), Err(DropReason::NoHeadroom));
        });
    }
}
