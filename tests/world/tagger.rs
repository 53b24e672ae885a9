//! Makes an interface send every frame with a VLAN tag that stands beside it, as a VLAN interface or `tc` does: a program
//! on its way out (tcx, Linux 6.6).
#![expect(unsafe_code, reason = "bpf(2)")]

use crate::lab::Namespace;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `enum bpf_cmd`, `bpf_prog_type` and `bpf_attach_type` (include/uapi/linux/bpf.h).
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const PROG_TYPE_SCHED_CLS: u64 = 3;
const TCX_EGRESS: u64 = 47;

/// Tags with the VLAN `id` for as long as what it returns lives.
pub fn tag_all(namespace: &Namespace, interface: &str, id: u32) -> io::Result<OwnedFd> {
    namespace.run(|| attach(interface, id))?
}

fn attach(interface: &str, id: u32) -> io::Result<OwnedFd> {
    const TPID: u64 = 0x8100_u16.to_be() as u64;
    const VLAN_PUSH: u64 = 18;
    let code: [u64; 5] = [0x02b7 | TPID << 32, 0x03b7 | u64::from(id) << 32, 0x85 | VLAN_PUSH << 32, 0x00b7, 0x95];
    let license = c"GPL";
    let load = [
        PROG_TYPE_SCHED_CLS | 5 << 32,
        code.as_ptr().expose_provenance() as u64,
        license.as_ptr().expose_provenance() as u64,
    ];
    let program = bpf(PROG_LOAD, &load)?;
    let name = CString::new(interface)?;
    // SAFETY: a C string is lent for the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    bpf(LINK_CREATE, &[program.as_raw_fd() as u64 | u64::from(index) << 32, TCX_EGRESS, 0, 0])
}

/// Commands that return a file.
fn bpf(command: libc::c_long, request: &[u64]) -> io::Result<OwnedFd> {
    // SAFETY: the request is as long as said; what it points to lives during the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, request.as_ptr(), size_of_val(request)) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call returned a new file that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
