//! Any program on any frame.

use arbitrary::{Result as Taken, Unstructured};
use crossdock_engine::drop::DropReason;
use crossdock_engine::execute::{Egress, execute as run};
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::{Csum, Frame, Gso, GsoKind, HEADROOM, Offload, Pool};
use crossdock_engine::program::Action;
use crossdock_engine::wire::Mac;
use crossdock_engine::wire::vlan::{Tag, Tci, Tpid};

/// What became of a frame or a copy.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Sent(PortId, Vec<u8>, Offload),
    Missed(PortId),
    Dropped(DropReason),
}

#[derive(Default)]
struct Exit(Vec<Fate>);

impl Exit {
    fn sent(&mut self, port: PortId, frame: Frame, pool: &mut Pool) {
        self.0.push(Fate::Sent(port, frame.to_vec(), frame.offload));
        pool.free(frame);
    }
}

impl Egress for Exit {
    fn output(&mut self, port: PortId, frame: Frame, pool: &mut Pool) {
        self.sent(port, frame, pool);
    }

    fn output_copy(&mut self, port: PortId, frame: &mut Frame, pool: &mut Pool) {
        match pool.copy(frame) {
            Some(copy) => self.sent(port, copy, pool),
            None => self.0.push(Fate::Missed(port)),
        }
    }

    fn drop(&mut self, frame: Frame, reason: DropReason, pool: &mut Pool) {
        self.0.push(Fate::Dropped(reason));
        pool.free(frame);
    }
}

/// A program does to a frame what it says, in order, and every frame and copy comes home.
pub fn execute(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let n = input.arbitrary::<u8>().unwrap_or_default() % 32;
    let program: Vec<Action> = (0..n).map_while(|_| action(&mut input).ok()).collect();
    let offload = offload(&mut input).unwrap_or_default();
    let bytes = input.take_rest();
    crate::memory::with_pool(|pool| {
        let Some(frame) = crate::memory::frame(bytes, offload, pool) else { return };
        let mut exit = Exit::default();
        run(&program, frame, &mut exit, pool);
        let model = Model { bytes: bytes.to_vec(), offload, headroom: HEADROOM };
        assert_eq!(exit.0, model.run(&program));
    });
}

fn action(input: &mut Unstructured<'_>) -> Taken<Action> {
    Ok(match input.arbitrary::<u8>()? % 7 {
        0 => Action::Output(PortId(input.arbitrary()?)),
        1 => Action::SetEthSrc(Mac(input.arbitrary()?)),
        2 => Action::SetEthDst(Mac(input.arbitrary()?)),
        3 => Action::PushVlan(tag(input)?),
        4 => Action::SetVlan(tag(input)?),
        5 => Action::PopVlan,
        _ => Action::Drop(*input.choose(DropReason::ALL)?),
    })
}

fn tag(input: &mut Unstructured<'_>) -> Taken<Tag> {
    let tpid = *input.choose(&[Tpid::CUSTOMER, Tpid::SERVICE, Tpid::LEGACY])?;
    Ok(Tag::new(tpid, Tci(input.arbitrary()?)))
}

fn offload(input: &mut Unstructured<'_>) -> Taken<Offload> {
    let csum = Csum { start: input.arbitrary()?, offset: input.arbitrary()? };
    let gso = Gso { size: 1000, hdr_len: input.arbitrary()?, kind: GsoKind::Tcp4, ecn: false };
    Ok(Offload { csum: input.arbitrary::<bool>()?.then_some(csum), gso: input.arbitrary::<bool>()?.then_some(gso) })
}

/// The same by plain means.
struct Model {
    bytes: Vec<u8>,
    offload: Offload,
    headroom: usize,
}

impl Model {
    /// A `Drop` before the end does nothing; an edit at the end neither, and the frame goes nowhere.
    fn run(mut self, program: &[Action]) -> Vec<Fate> {
        let mut fates = Vec::new();
        let edits = program.len().saturating_sub(1);
        for &action in &program[..edits] {
            match self.edit(action) {
                Ok(sent) => fates.extend(sent),
                Err(reason) => {
                    fates.push(Fate::Dropped(reason));
                    return fates;
                }
            }
        }
        fates.push(match program.last() {
            Some(&Action::Output(port)) => self.sent(port),
            Some(&Action::Drop(reason)) => Fate::Dropped(reason),
            _ => Fate::Dropped(DropReason::NoEgress),
        });
        fates
    }

    fn sent(&self, port: PortId) -> Fate {
        Fate::Sent(port, self.bytes.clone(), self.offload)
    }

    fn edit(&mut self, action: Action) -> Result<Option<Fate>, DropReason> {
        match action {
            Action::Output(port) => return Ok(Some(self.sent(port))),
            Action::Drop(_) => {}
            Action::SetEthDst(Mac(mac)) => self.write(0, &mac)?,
            Action::SetEthSrc(Mac(mac)) => self.write(6, &mac)?,
            Action::SetVlan(tag) => self.write(12, &tag.to_bytes())?,
            Action::PushVlan(tag) => self.push(tag)?,
            Action::PopVlan => self.pop()?,
        }
        Ok(None)
    }

    fn write(&mut self, at: usize, value: &[u8]) -> Result<(), DropReason> {
        let field = self.bytes.get_mut(at..at + value.len()).ok_or(DropReason::Malformed)?;
        field.copy_from_slice(value);
        Ok(())
    }

    fn push(&mut self, tag: Tag) -> Result<(), DropReason> {
        self.shift(4)?;
        self.headroom = self.headroom.checked_sub(4).ok_or(DropReason::NoHeadroom)?;
        self.bytes.get(..12).ok_or(DropReason::Malformed)?;
        self.bytes.splice(12..12, tag.to_bytes());
        Ok(())
    }

    fn pop(&mut self) -> Result<(), DropReason> {
        self.shift(-4)?;
        self.bytes.get(..16).ok_or(DropReason::Malformed)?;
        self.bytes.drain(12..16);
        self.headroom += 4;
        Ok(())
    }

    /// No offset leaves the frame's 16 bits, or the room behind the Ethernet header.
    fn shift(&mut self, by: i32) -> Result<(), DropReason> {
        let offsets =
            [self.offload.csum.as_mut().map(|c| &mut c.start), self.offload.gso.as_mut().map(|g| &mut g.hdr_len)];
        for offset in offsets.into_iter().flatten() {
            let moved = i32::from(*offset) + by;
            *offset = u16::try_from(moved).ok().filter(|&at| at >= 14).ok_or(DropReason::BadVnetHeader)?;
        }
        Ok(())
    }
}
