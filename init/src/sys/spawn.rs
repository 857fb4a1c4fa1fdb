//! Starting our own image again as one of its applets, with vfork semantics: the parent's memory is not copied
//! (a fork of a large process takes milliseconds), and nothing of Rust runs between clone and exec but the few system
//! calls below.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use cloister_init::supervisor::event::Pid;
use nix::libc;

/// Our own program. PID 1's root holds it; no container's does, and no container can write to it (CVE-2019-5736).
const SELF: &std::ffi::CStr = c"/proc/self/exe";
/// Stack of the few calls before exec.
const STACK_BYTES: usize = 64 * 1024;
/// Exit code of a child whose exec failed; its parent learns the reason through shared memory.
const EXEC_FAILED: c_int = 127;

/// Which namespaces a process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Namespaces {
    /// Ours.
    Inherited,
    /// Its own mount and PID namespaces; the rest is shared by the Pod.
    Container,
    /// Its own mount namespace: a container of a Pod that shares its PID namespace.
    Mount,
    /// Its own PID namespace: the first process of such a Pod.
    Pid,
}

/// Everything the child needs, made before it exists: it must not allocate.
struct Plan<'a> {
    argv: &'a [*const c_char],
    envp: &'a [*const c_char],
    /// (from, to), where no `from` is below `first_free`.
    moves: &'a [(c_int, c_int)],
    first_free: c_int,
    errno: c_int,
}

/// Starts `/proc/self/exe applet args…`. `fds` become the child's descriptors under the given numbers; no other is
/// inherited. Returns once the child has executed.
pub(crate) fn spawn(
    applet: &str,
    args: &[&str],
    namespaces: Namespaces,
    fds: &[(BorrowedFd<'_>, i32)],
    env: &[(&str, &str)],
) -> io::Result<Pid> {
    let mut argv = vec![CString::new("cloister-init")?, CString::new(applet)?];
    for arg in args {
        argv.push(CString::new(*arg)?);
    }
    let mut envp = Vec::new();
    for (name, value) in env {
        envp.push(CString::new(format!("{name}={value}"))?);
    }
    // Copies above every target number, so that no move overwrites the source of another.
    let first_free = fds.iter().map(|(_, to)| to + 1).max().unwrap_or(3).max(3);
    let mut copies = Vec::new();
    for (fd, to) in fds {
        let copy = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(first_free))?;
        // SAFETY: fcntl has just made this descriptor; nobody else owns it.
        let copy = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(copy) };
        copies.push((copy, *to));
    }
    let moves: Vec<(c_int, c_int)> = copies.iter().map(|(fd, to)| (fd.as_raw_fd(), *to)).collect();
    let mut plan = Plan {
        argv: &pointers(&argv),
        envp: &pointers(&envp),
        moves: &moves,
        first_free,
        errno: 0,
    };
    clone(namespaces, &mut plan)
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

fn clone(namespaces: Namespaces, plan: &mut Plan<'_>) -> io::Result<Pid> {
    let flags = match namespaces {
        Namespaces::Inherited => 0,
        Namespaces::Container => libc::CLONE_NEWPID | libc::CLONE_NEWNS,
        Namespaces::Mount => libc::CLONE_NEWNS,
        Namespaces::Pid => libc::CLONE_NEWPID,
    } | libc::CLONE_VM
        | libc::CLONE_VFORK
        | libc::SIGCHLD;
    let mut stack = vec![0u128; STACK_BYTES / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    // SAFETY: `child` runs on its own stack and only makes system calls. CLONE_VFORK keeps us suspended until it has
    // executed or exited, so `plan` and `stack` outlive it and nobody else touches them.
    let pid = unsafe { libc::clone(child, top, flags, std::ptr::from_mut(plan).cast()) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // The child shares our memory: what it wrote before it gave up is here. Its exit is reaped like any other.
    // SAFETY: `plan` is a valid reference; volatile because another process wrote it.
    match unsafe { std::ptr::read_volatile(&raw const plan.errno) } {
        0 => Ok(pid),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Runs in the child until exec. It must not allocate, lock or panic: its memory is its parent's.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `clone` passed a valid plan, and the parent is suspended.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    for (from, to) in plan.moves {
        // dup2(2) clears close-on-exec on the copy.
        // SAFETY: a plain system call on numbers.
        if unsafe { libc::dup2(*from, *to) } < 0 {
            return give_up(plan);
        }
    }
    let first = plan.first_free.unsigned_abs();
    // Close-on-exec, not closed: /proc/self/exe is looked up without a descriptor, and the rest goes at exec.
    // SAFETY: a plain system call on numbers.
    if unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    } < 0
    {
        return give_up(plan);
    }
    let none = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: an empty set is all zeros on Linux; handlers of our parent are reset by exec.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: both arrays end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(SELF.as_ptr(), plan.argv.as_ptr(), plan.envp.as_ptr()) };
    give_up(plan)
}

fn give_up(plan: &mut Plan<'_>) -> c_int {
    plan.errno = nix::errno::Errno::last_raw();
    // SAFETY: _exit(2) runs no destructor and flushes no buffer of the parent's.
    unsafe { libc::_exit(EXEC_FAILED) }
}
