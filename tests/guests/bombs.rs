//! Words of the guest that take all they can get, and say when there is no more.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

unsafe extern "C" {
    fn close(descriptor: i32) -> i32;
    fn fork() -> i32;
}

/// Writes to a file until the file system is full.
pub(crate) fn fill(path: &str) {
    let mut file = File::create(path).expect("a writable volume");
    let block = [7; 1 << 16];
    loop {
        if let Err(error) = file.write_all(&block) {
            println!("full: {error}");
            return;
        }
    }
}

/// Makes empty files until there is no room for another one.
pub(crate) fn files(directory: &str) {
    for number in 0_u64.. {
        if let Err(error) = File::create(format!("{directory}/{number}")) {
            println!("no file after {number}: {error}");
            return;
        }
    }
}

/// Opens descriptors until there are none left, and keeps them.
pub(crate) fn descriptors() -> Vec<File> {
    let mut all = Vec::new();
    loop {
        match File::open("/proc/self/exe") {
            Ok(file) => all.push(file),
            Err(error) => {
                println!("descriptors: {error}");
                return all;
            }
        }
    }
}

/// Takes so many MiB of memory and keeps them.
pub(crate) fn hold(mebibytes: usize) {
    std::mem::forget(vec![1_u8; mebibytes << 20]);
    println!("holds {mebibytes} MiB");
}

/// Makes processes that make processes, all of them without end; says when there is room for no other one. Whoever connects
/// to the port then, ends the first of them.
pub(crate) fn processes(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    loop {
        // SAFETY: there is one thread, and the child does nothing but system calls.
        match unsafe { fork() } {
            0 => multiply(&listener),
            -1 => break,
            _ => {}
        }
    }
    let error = std::io::Error::last_os_error();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = all.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()));
    println!("no process after {}: {error}", all.count());
    let _ = listener.accept();
    std::process::exit(9);
}

fn multiply(listener: &TcpListener) -> ! {
    // SAFETY: it is the first process's business.
    unsafe { close(listener.as_raw_fd()) };
    loop {
        // SAFETY: as above.
        unsafe { fork() };
        std::thread::sleep(Duration::from_millis(500));
    }
}
