//! From nitro-cli's error codes (`src/common/document_errors.rs` of aws-nitro-enclaves-cli) to one sentence that says
//! what to do. nitro-cli's own words follow it.

use std::fs::File;
use std::io::Read as _;

use crate::table::escape;

use super::cli::Error;
use super::sizing::Size;

/// How much of nitro-cli's words is repeated, in lines.
const LINES: usize = 8;
/// How much of its error log is read, in bytes; a real one has less than 1 KiB.
const MAX_LOG: u64 = 16 * 1024;

/// Why an enclave of `size` could not be started.
pub(super) fn start(error: &Error, size: &Size) -> String {
    match error {
        Error::Spawn(program, cause) => format!(
            "cannot run {}: {cause}; install aws-nitro-enclaves-cli, or name the program with CLOISTER_NITRO_CLI",
            program.display()
        ),
        Error::Failed(stderr) => {
            let hint = hint(stderr, size).unwrap_or_else(|| error.to_string());
            format!("{hint}{}", quote(stderr))
        }
        Error::Deadline(_, stderr) => format!(
            "{error} and was ended; an enclave that comes up later is ended by the next start{}",
            quote(stderr)
        ),
        Error::Garbled(_) => format!("{error}; is this aws-nitro-enclaves-cli 1.1 or later?"),
    }
}

/// The first code: later ones (E39) follow from it.
pub(super) fn code(stderr: &str) -> Option<&str> {
    let is_code = |word: &&str| {
        word.len() == 3 && word.starts_with('E') && word[1..].bytes().all(|byte| byte.is_ascii_digit())
    };
    stderr
        .split("[ ")
        .skip(1)
        .filter_map(|rest| rest.split(" ]").next())
        .find(is_code)
}

fn hint(stderr: &str, size: &Size) -> Option<String> {
    let Size { cpus, memory_mib } = size;
    if stderr.contains("--enclave-name") && code(stderr).is_none() {
        return Some("this nitro-cli does not know --enclave-name: install 1.1 or later".to_owned());
    }
    let hint = match code(stderr)? {
        "E07" | "E18" | "E56" => {
            "nitro-cli may not use its directories, /run/nitro_enclaves and /var/log/nitro_enclaves: be root or a \
             member of group ne"
                .to_owned()
        }
        "E19" if stderr.contains("/dev/nitro_enclaves") => {
            "/dev/nitro_enclaves cannot be opened: launch the instance with enclaves enabled (EnclaveOptions), and be \
             root or a member of group ne; in Kubernetes ask for aws.ec2.nitro/nitro_enclaves: 1"
                .to_owned()
        }
        "E19" if stderr.contains("/sys/module/nitro_enclaves") => {
            "the driver nitro_enclaves is not loaded: launch the instance with enclaves enabled (EnclaveOptions) and \
             start nitro-enclaves-allocator.service"
                .to_owned()
        }
        "E19" => "nitro-cli could not read or write a file: see the name below".to_owned(),
        "E21" | "E22" => format!(
            "fewer than {cpus} vCPUs are set aside for enclaves: raise cpu_count in \
             /etc/nitro_enclaves/allocator.yaml and restart nitro-enclaves-allocator.service, or lower --cpus"
        ),
        "E26" => format!("{memory_mib} MiB are too little for this image: raise --memory to what nitro-cli says"),
        "E27" => format!(
            "less than {memory_mib} MiB of huge pages are free: raise memory_mib in \
             /etc/nitro_enclaves/allocator.yaml and restart nitro-enclaves-allocator.service, or lower --memory; in \
             Kubernetes raise the container's hugepages limit"
        ),
        "E35" | "E42" => {
            "the image could not be copied to huge pages: in a container they need a hugepages limit, and the image \
             must be complete"
                .to_owned()
        }
        "E28" | "E29" | "E30" | "E31" | "E32" | "E33" => {
            format!(
                "the driver refused {cpus} vCPUs and {memory_mib} MiB: most often another enclave holds them \
                 (`nitro-cli describe-enclaves`), or they belong to different NUMA nodes (restart \
                 nitro-enclaves-allocator.service)"
            )
        }
        "E36" => {
            "the enclave did not say that it booted: its memory may be too small, the image invalid, its signature \
             expired, its heartbeat not configured, or another enclave was starting at this moment; run it with \
             --debug-mode and read `nitro-cli console`"
                .to_owned()
        }
        _ => return None,
    };
    Some(hint)
}

/// nitro-cli's words, and from its error log what it was doing: E29 and E36 say nothing without it.
fn quote(stderr: &str) -> String {
    let said = stderr.lines().filter(|line| !line.trim().is_empty());
    let log = log_path(stderr).map(steps).unwrap_or_default();
    let mut out = String::new();
    for line in said.take(LINES).chain(log.lines().take(LINES)) {
        out.push_str("\n  ");
        out.push_str(&escape(line.trim()));
    }
    out
}

fn log_path(stderr: &str) -> Option<&str> {
    let (_, rest) = stderr.split_once("error log found at \"")?;
    rest.split('"').next().filter(|path| path.starts_with('/'))
}

/// The lines between `Subactions:` and `Root error`.
fn steps(path: &str) -> String {
    let mut text = Vec::new();
    // A FIFO would never end; the log is a regular file.
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
        && let Ok(file) = File::open(path)
    {
        let _ = file.take(MAX_LOG).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let steps = text.split_once("Subactions:").map_or("", |(_, rest)| rest);
    let steps = steps.split("Root error").next().unwrap_or_default();
    steps.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_code_counts() {
        let stderr = "Start allocating memory...\n[ E27 ] Insufficient memory.\nFailed connections: 1\n[ E39 ] Enclave";
        assert_eq!(code(stderr), Some("E27"));
        for none in ["", "[ E1 ]", "[ é27 ]", "[ EéE ]", "E27", "[ 1, 9 ]"] {
            assert_eq!(code(none), None, "{none}");
        }
    }

    #[test]
    fn the_error_log_says_what_the_code_does_not() {
        let log = tempfile::NamedTempFile::new().expect("temporary file");
        let text = "  Action: Run Enclave\n  Subactions:\n    Failed to create enclave\n    Add vCPU ioctl failed\n  Root \
                    error file: x.rs\n  Root error line: 572\n";
        std::fs::write(log.path(), text).expect("writes");
        let stderr = format!(
            "[ E29 ] Ioctl failure.\n\nplease provide the error log found at \"{}\"\n",
            log.path().display()
        );
        let size = Size {
            cpus: 4,
            memory_mib: 512,
        };
        let message = start(&Error::Failed(stderr), &size);
        assert!(
            message.starts_with("the driver refused 4 vCPUs and 512 MiB"),
            "{message}"
        );
        assert!(message.contains("\n  Add vCPU ioctl failed"), "{message}");
        assert!(!message.contains("Root error"), "{message}");
    }

    #[test]
    fn a_terminal_obeys_nothing_of_it() {
        let size = Size {
            cpus: 2,
            memory_mib: 64,
        };
        let message = start(&Error::Failed("[ E99 ] \u{1b}[2Jx".to_owned()), &size);
        assert!(message.starts_with("nitro-cli failed with E99\n"), "{message}");
        assert!(!message.contains('\u{1b}'));
    }
}
