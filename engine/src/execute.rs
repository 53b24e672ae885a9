//! Runs a program on a frame: the only place that writes packet bytes.

use crate::drop::DropReason;
use crate::flow::PortId;
use crate::frame::{Frame, Pool};
use crate::program::Action;
use crate::wire::Mac;

/// Where frames go that leave a program.
pub trait Egress {
    /// Takes a frame towards a port.
    fn output(&mut self, port: PortId, frame: Frame, pool: &mut Pool);
    /// Takes a copy of a frame towards a port, or counts that there was no memory for it.
    fn output_copy(&mut self, port: PortId, copy: Option<Frame>, pool: &mut Pool);
    /// Ends a frame.
    fn drop(&mut self, frame: Frame, reason: DropReason, pool: &mut Pool);
}

/// Runs `actions` in order. The last disposes of the frame; an `Output` before it sends a copy.
#[inline(always)]
pub fn execute(actions: &[Action], mut frame: Frame, egress: &mut impl Egress, pool: &mut Pool) {
    let Some((last, rest)) = actions.split_last() else { return egress.drop(frame, DropReason::NoEgress, pool) };
    for &action in rest {
        match action {
            Action::Output(port) => {
                let copy = pool.copy(&frame);
                egress.output_copy(port, copy, pool);
            }
            edit => rewrite(edit, &mut frame),
        }
    }
    match *last {
        Action::Output(port) => egress.output(port, frame, pool),
        Action::Drop(reason) => egress.drop(frame, reason, pool),
        Action::SetEthSrc(_) | Action::SetEthDst(_) => egress.drop(frame, DropReason::NoEgress, pool),
    }
}

/// Edits the frame's bytes. Frames here have a whole Ethernet header: the parser saw it.
fn rewrite(action: Action, frame: &mut Frame) {
    match action {
        Action::SetEthDst(mac) => write_mac(frame, 0, mac),
        Action::SetEthSrc(mac) => write_mac(frame, 6, mac),
        Action::Output(_) | Action::Drop(_) => {}
    }
}

fn write_mac(frame: &mut Frame, at: usize, mac: Mac) {
    if let Some(field) = frame.get_mut(at..at + 6) {
        field.copy_from_slice(&mac.0);
    }
}
