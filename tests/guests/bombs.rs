//! Words of the guest that take all they can get, and say when there is no more.

use std::fs::File;
use std::io::Write;

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
