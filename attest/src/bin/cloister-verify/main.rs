//! `cloister-verify`: says whether an attestation document is what a relying party expects, and what it proves.

mod arguments;
mod help;
mod input;
mod report;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use arguments::{Command, Request, When, parse};
use attest::UnixTime;
use attest::document::{Exchange, Field, unverified_time, verify};
use report::Report;

/// The document is refused.
const NO: u8 = 1;
/// `EX_USAGE` of sysexits(3): a flag, or a file that a flag names.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let request = match parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => return print(help::TEXT, ExitCode::SUCCESS),
        Ok(Command::Version) => {
            let version = concat!("cloister-verify ", env!("CARGO_PKG_VERSION"), "\n");
            return print(version, ExitCode::SUCCESS);
        }
        Ok(Command::Verify(request)) => request,
        Err(mistakes) => return usage(&mistakes),
    };
    match judge(&request) {
        Ok(report) => {
            let code = if report.verdict.is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(NO)
            };
            print(&report.print(request.output), code)
        }
        Err(mistake) => usage(&[mistake]),
    }
}

fn judge(request: &Request) -> Result<Report<'_>, String> {
    let document = input::document(request.document.as_deref())?;
    let now = match request.when {
        When::Now => now(),
        When::At(time) => time,
        // One that cannot be read is refused below, whatever the time.
        When::Document => unverified_time(&document).unwrap_or_else(|_| now()),
    };
    let exchange = Exchange {
        nonce: field(request.nonce.as_deref()),
        user_data: field(request.user_data.as_deref()),
        public_key: field(request.public_key.as_deref()),
    };
    let verdict = verify(&document, &request.policy, &exchange, now);
    Ok(Report {
        request,
        now,
        verdict,
    })
}

/// What no flag names is not compared.
fn field(wanted: Option<&[u8]>) -> Field<'_> {
    wanted.map_or(Field::Any, Field::Is)
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_seconds(since.as_secs())
}

fn usage(mistakes: &[String]) -> ExitCode {
    for mistake in mistakes {
        eprintln!("cloister-verify: {mistake}");
    }
    eprintln!("see `cloister-verify --help`");
    ExitCode::from(USAGE)
}

/// A reader that has gone (`| head`) has heard enough; any other failure must not pass for a yes.
fn print(text: &str, code: ExitCode) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("cloister-verify: cannot print the report: {error}");
            ExitCode::from(NO)
        }
        _ => code,
    }
}
