//! `guest do STEP…`: one step after another, each told on standard output. A step is a word and what it is about.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::time::Duration;

unsafe extern "C" {
    fn umask(mask: u32) -> u32;
    fn mount(
        source: *const std::ffi::c_char,
        target: *const std::ffi::c_char,
        kind: *const std::ffi::c_char,
        flags: u64,
        data: *const std::ffi::c_void,
    ) -> i32;
}

/// Does them all.
pub fn perform(steps: &[&str]) {
    for step in steps {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let (path, more) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "say" => println!("{rest}"),
            "print" => {
                print!("{rest}");
                std::io::stdout().flush().expect("standard output");
            }
            "env" => match std::env::vars_os().find(|(name, _)| name == rest) {
                Some((_, value)) => println!("{rest}={}", value.to_string_lossy().escape_debug()),
                None => println!("{rest} is not set"),
            },
            "stat" => match fs::metadata(rest) {
                Ok(of) => println!("{rest}: {:o} {} {}", of.mode() & 0o7777, of.uid(), of.gid()),
                Err(error) => println!("{rest}: {:?}", error.kind()),
            },
            "link-of" => println!("{rest} -> {}", fs::read_link(rest).map_or_else(|error| error.to_string(), |to| to.display().to_string())),
            "mounted" => mounted(rest),
            "read" => match fs::read_to_string(rest) {
                Ok(text) => println!("{rest}: {text:?}"),
                Err(error) => println!("{rest}: {:?}", error.kind()),
            },
            "list" => {
                let entries = fs::read_dir(rest).map(|entries| {
                    let names = entries.flatten().map(|entry| entry.file_name().into_string().expect("UTF-8"));
                    let mut names: Vec<_> = names.collect();
                    names.sort();
                    names.join(" ")
                });
                println!("{rest}: {}", entries.unwrap_or_else(|error| format!("{:?}", error.kind())));
            }
            "write" => told(step, fs::write(path, more)),
            "write-env" => {
                // Under another name first: whoever waits for the file reads all of it.
                let value = std::env::var(more).expect("the variable");
                let next = format!("{path}.next");
                told(step, fs::write(&next, value).and_then(|()| fs::rename(next, path)));
            }
            "append" => told(step, fs::File::options().create(true).append(true).open(path).and_then(|mut file| writeln!(file, "{more}"))),
            "create" => {
                // SAFETY: a system call that cannot fail.
                unsafe { umask(0) };
                let mode = u32::from_str_radix(more, 8).expect("an octal mode");
                told(step, fs::File::options().create(true).write(true).mode(mode).open(path).map(drop));
            }
            "make-directory" => told(step, fs::create_dir_all(rest)),
            "chmod" => {
                let mode = u32::from_str_radix(more, 8).expect("an octal mode");
                told(step, fs::set_permissions(path, fs::Permissions::from_mode(mode)));
            }
            "link" => told(step, symlink(path, more)),
            "fill" => told(step, fs::write(path, vec![b'x'; more.parse::<usize>().expect("a number") << 20])),
            // Until the file system is full.
            "overfill" => super::bombs::fill(rest),
            "files" => super::bombs::files(rest),
            // They stay open until the end of the process.
            "descriptors" => std::mem::forget(super::bombs::descriptors()),
            "hold" => super::bombs::hold(rest.parse().expect("a number")),
            "eat" => super::eat(),
            "times" => {
                let (count, text) = (path.parse().expect("a number"), more);
                for number in 0..count {
                    println!("{text} {number}");
                }
            }
            "wait" => {
                while fs::symlink_metadata(rest).is_err() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            "mount-tmpfs" => {
                let target = std::ffi::CString::new(rest).expect("no NUL");
                // SAFETY: a system call with strings that outlive it.
                let done = unsafe { mount(c"tmpfs".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()) };
                let done = if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
                told(step, done);
            }
            "exit" => std::process::exit(rest.parse().expect("a code")),
            "sleep" => {
                println!("ready");
                loop {
                    std::thread::sleep(Duration::from_secs(3600));
                }
            }
            other => panic!("guest: step {other:?}?"),
        }
    }
    println!("end");
}

/// `write /f text: ok`
fn told(step: &str, outcome: std::io::Result<()>) {
    println!("{step}: {}", super::outcome(outcome));
}

/// Type and options of what is mounted at a path.
fn mounted(path: &str) {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc");
    let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(path));
    match line.map(|line| line.split(' ').collect::<Vec<_>>()) {
        Some(fields) => println!("{path} is {} {}", fields[2], fields[3]),
        None => println!("{path} is not mounted"),
    }
}
