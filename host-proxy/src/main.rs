//! `host-proxy`: the launcher-side binary. Parses the command, runs it, exits with a documented code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use host_proxy::exit::Exit;
use host_proxy::{announce, backend, cli, run};

fn main() -> ExitCode {
    if let Some(code) = backend::applet() {
        return code;
    }
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .format_timestamp(None)
        .init();
    let command = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            announce::say(&format!("host-proxy: {error}"));
            return Exit::Usage.into();
        }
    };
    // A relayed connection takes two descriptors, and the usual soft limit is 1024 (getrlimit(2)). Best effort.
    if let Ok((_, hard)) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
        let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard);
    }
    // One thread: tasks share what they know without locks, and relays move bytes, not thoughts.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            announce::say(&format!("host-proxy: cannot start: {error}"));
            return Exit::Host.into();
        }
    };
    let result = tokio::task::LocalSet::new().block_on(&runtime, run::run(command));
    // A blob file or a resolver that hangs must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            announce::say(&format!("host-proxy: {failure}"));
            failure.exit.into()
        }
    }
}
