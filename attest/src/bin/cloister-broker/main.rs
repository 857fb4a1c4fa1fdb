//! `cloister-broker`: the secret service that comes with Cloister. Parses the command, runs it, exits with a documented code.
#![forbid(unsafe_code)]

mod arguments;
mod check;
mod exit;
mod help;
mod input;
mod serve;

use std::io::{self, Write as _};
use std::process::ExitCode;

use arguments::Command;
use exit::{Exit, Failure};

fn main() -> ExitCode {
    let done = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help(verb)) => print(help::text(verb)),
        Ok(Command::Version) => print(concat!("cloister-broker ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::PublicKey(key)) => input::key(&key).and_then(|key| print(&key.public().to_pem())),
        Ok(Command::Check(check)) => check::check(&check).and_then(|text| print(&text)),
        Ok(Command::Serve(serve)) => serve::serve(&serve),
        Err(failure) => Err(failure),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit, message }) => {
            // Nobody to tell; the code says it.
            let _ = writeln!(io::stderr(), "cloister-broker: {message}");
            exit.into()
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::new(Exit::Host, format!("cannot write: {error}")))
}
