//! Mounts by descriptor (open_tree(2), move_mount(2), mount_setattr(2)), which neither nix nor libc wrap everywhere: a tree
//! is taken while it can still be seen, and put in its place without a path of others in between.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// `AT_RECURSIVE`.
const RECURSIVE: libc::c_uint = 0x8000;
const EMPTY_PATH: libc::c_uint = libc::AT_EMPTY_PATH as libc::c_uint;
/// `OPEN_TREE_CLONE`.
const CLONE: libc::c_uint = 1;
/// `OPEN_TREE_CLOEXEC`.
const CLOSE_ON_EXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;
/// `MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH`.
const BOTH_EMPTY: libc::c_uint = 0x4 | 0x40;
/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 1;

/// `struct mount_attr`.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// A mount that is nowhere yet, of what `what` (`O_PATH`) names and all that is mounted beneath it. It belongs to the peer
/// groups that these mounts belong to (mount_namespaces(7)).
pub(crate) fn take(what: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = EMPTY_PATH | RECURSIVE | CLONE | CLOSE_ON_EXEC;
    // SAFETY: the path is a string that lives as long as the program.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, what.as_raw_fd(), c"".as_ptr(), flags) };
    let fd = i32::try_from(Errno::result(fd)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts such a mount on `target` (`O_PATH`).
pub(crate) fn put(tree: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let (from, to) = (tree.as_raw_fd(), target.as_raw_fd());
    // SAFETY: both paths are strings that live as long as the program.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from,
            c"".as_ptr(),
            to,
            c"".as_ptr(),
            BOTH_EMPTY,
        )
    };
    Errno::result(done)?;
    Ok(())
}

/// Nobody may write through this mount, nor through those beneath it.
pub(crate) fn make_read_only(tree: &OwnedFd) -> io::Result<()> {
    let attributes = Attributes {
        set: READ_ONLY,
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    let size = size_of::<Attributes>();
    // SAFETY: the structure lives until the call returns, and its size is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            EMPTY_PATH | RECURSIVE,
            &raw const attributes,
            size,
        )
    };
    Errno::result(done)?;
    Ok(())
}
