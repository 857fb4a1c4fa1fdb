//! The commands: from options to the tasks and back to an exit code.

use std::path::Path;
use std::time::Duration;

use manifest_sync::link::Address;

use crate::announce::say;
use crate::blobs::BlobStore;
use crate::cli::{self, Command, Serve};
use crate::client;
use crate::control::Ended;
use crate::enclave::Enclave;
use crate::exit::{Exit, Failure};
use crate::place;
use crate::serving::{self, Work};

/// How long an enclave that somebody else started may take to answer; a VM boots meanwhile.
const REMOTE_FIRST: Duration = Duration::from_secs(120);
/// How long a VM may be silent before it is taken for dead.
const REMOTE_LOST: Duration = Duration::from_secs(60);

/// Runs one command.
pub async fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Version => print(&format!("host-proxy {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Help(verb) => print(cli::help_text(verb)),
        Command::Sign(sign) => crate::signing::sign(&sign),
        Command::Inspect(inspect) => crate::inspect::inspect(&inspect),
        Command::Unseal(options) => crate::unseal::unseal(&options),
        Command::Up(up) => crate::up::up(up).await,
        Command::Serve(serve) => run_serve(serve).await,
        Command::Apply {
            target,
            source,
            images,
        } => {
            let bundle = crate::bundle::load(&source, images.as_deref())?;
            let applied = client::apply(&place::socket(&target)?, bundle.bundle.bytes).await?;
            warn(&applied);
            print(&format!("applied {}\n", applied.digest))
        }
        Command::Update {
            target,
            source,
            images,
        } => {
            let bundle = crate::bundle::load(&source, images.as_deref())?;
            let applied = client::update(&place::socket(&target)?, bundle.bundle.bytes).await?;
            warn(&applied);
            print(&format!("updated {}\n", applied.digest))
        }
        Command::Status {
            target,
            output,
            watch,
        } => client::status(&place::socket(&target)?, output, watch)
            .await
            .map(|()| Exit::Pod(0)),
        Command::Logs {
            target,
            container,
            follow,
        } => client::logs(&place::socket(&target)?, container.as_deref(), follow)
            .await
            .map(|()| Exit::Pod(0)),
        Command::Exec { target, request } => crate::exec::exec(&place::socket(&target)?, request).await,
        Command::Condition { target, condition } => {
            client::condition(&place::socket(&target)?, &condition).await?;
            print("set\n")
        }
        Command::Stop { target, grace } => {
            client::stop(&place::socket(&target)?, grace).await?;
            print("stopping\n")
        }
    }
}

fn warn(applied: &client::Applied) {
    for warning in &applied.warnings {
        say(&format!(
            "warning: {}",
            crate::table::escape(&warning.to_string())
        ));
    }
}

async fn run_serve(serve: Serve) -> Result<Exit, Failure> {
    let address: Address = serve
        .enclave
        .parse()
        .map_err(|error| Failure::new(Exit::Usage, format!("--enclave: {error}")))?;
    let load = |source| crate::bundle::load(source, serve.images.as_deref());
    let loaded = serve.source.as_ref().map(load).transpose()?;
    let state = place::state_dir(&serve.target, "enclave");
    place::create(&state)?;
    let ports = loaded
        .as_ref()
        .map(|loaded| loaded.ports.clone())
        .unwrap_or_default();
    let bound = serving::bind(&state, &serve.serving, &ports).await?;
    let (source, images) = (serve.source.clone(), serve.images.clone());
    let work = Work {
        reload: Box::new(move || reload(source.as_ref(), images.as_deref())),
        enclave: Enclave::new(address),
        state,
        bundle: loaded.map(|loaded| loaded.bundle),
        blobs: BlobStore::new(serve.images.as_deref()),
        obituary: Box::new(|| None),
        has_booted: Box::new(|| true),
        first_deadline: REMOTE_FIRST,
        lost_deadline: REMOTE_LOST,
    };
    match serving::serve(bound, &serve.serving, work).await? {
        Ended::Finished(code) => Ok(Exit::Pod(code)),
        Ended::NeverApplied => Ok(Exit::Pod(0)),
    }
}

/// Prints on standard output; a closed pipe is no reason to panic.
pub(crate) fn print(text: &str) -> Result<Exit, Failure> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::Host, format!("cannot write to standard output: {error}")))?;
    Ok(Exit::Pod(0))
}

/// Reads what a proxy was started with once more.
pub(crate) fn reload(source: Option<&cli::Source>, images: Option<&Path>) -> Result<Vec<u8>, Failure> {
    match source {
        None => Err(Failure::new(
            Exit::Usage,
            "this proxy was started without manifests and without a bundle: use `host-proxy update`",
        )),
        Some(source) => crate::bundle::load(source, images).map(|loaded| loaded.bundle.bytes),
    }
}
