//! The last step: environment, search of the program, exec.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::errno::Errno;

use super::c_string;
use super::report::{Failure, Stage, StageExt as _};

/// The environment, with HOME if it is absent.
pub(crate) fn environment(env: &[(String, String)], home: &str) -> Vec<(String, String)> {
    let mut env = env.to_vec();
    if !env.iter().any(|(name, _)| name == "HOME") && !home.is_empty() {
        env.push(("HOME".to_owned(), home.to_owned()));
    }
    env
}

/// Replaces this process by the program.
pub(crate) fn execute(argv: &[String], env: &[(String, String)]) -> Result<Infallible, Failure> {
    let name = argv
        .first()
        .ok_or_else(|| Failure::said(Stage::Exec, "no command specified".to_owned()))?;
    let path = env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, value)| value.as_str());
    let program = c_string(&search(name, path.unwrap_or_default())?, Stage::Exec)?;
    let arguments = argv
        .iter()
        .map(|text| c_string(text, Stage::Exec))
        .collect::<Result<Vec<_>, _>>()?;
    let variables = env
        .iter()
        .map(|(name, value)| c_string(&format!("{name}={value}"), Stage::Exec))
        .collect::<Result<Vec<_>, _>>()?;
    nix::unistd::execve(&program, &arguments, &variables).at(Stage::Exec, &format!("{name:?}"))
}

/// A name with a slash is a path; another is searched in PATH, as a shell does.
fn search(name: &str, path: &str) -> Result<String, Failure> {
    if name.contains('/') {
        return Ok(name.to_owned());
    }
    let mut denied = false;
    for directory in path.split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        match std::fs::metadata(&candidate) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => {
                return Ok(candidate.to_string_lossy().into_owned());
            }
            Ok(meta) => denied |= meta.is_file(),
            Err(error) => denied |= error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    if denied {
        return Err(Errno::EACCES).at(Stage::Exec, &format!("{name:?}"));
    }
    Err(Failure::said(
        Stage::Exec,
        format!("{name:?}: executable file not found in $PATH"),
    ))
}
