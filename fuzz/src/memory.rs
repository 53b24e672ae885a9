//! Frame memory for a target, which must be whole again when it ends.

use crossdock_engine::frame::{Arena, Frame, Offload, Pool};

thread_local! {
    /// Mapped once a thread.
    static ARENA: Option<Arena> = Arena::new(512, 32).ok();
}

/// Runs with a pool, and sees that every frame comes home.
pub fn with_pool(work: impl FnOnce(&mut Pool)) {
    let Some(arena) = ARENA.with(Clone::clone) else { return };
    let mut pool = arena.pool(64, 8);
    work(&mut pool);
    drop(pool);
    assert_eq!(arena.free(), arena.total(), "frames are conserved");
}

/// A frame of these bytes; `None` when no chunk is that large.
pub fn frame(bytes: &[u8], offload: Offload, pool: &mut Pool) -> Option<Frame> {
    let mut frame = pool.alloc(bytes.len())?;
    assert!(frame.fill(bytes), "a frame has the room that was asked for");
    frame.offload = offload;
    Some(frame)
}
