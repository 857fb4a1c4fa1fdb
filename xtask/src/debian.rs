//! Debian packages: installing what a command needs, and fetching sources that are pinned by version and digest.
//!
//! Sources come through apt with a source list and package lists of our own below `target/vm`, so the machine's own
//! configuration stays as it is. Nothing is used before its digest was checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::system::{has, need, run};

/// Lines of a failed program's output that are shown: enough for a compiler's error.
const TAIL: usize = 30;

/// A file of the Debian archive.
pub(crate) struct Pin {
    /// Name that apt gives it.
    pub(crate) file: &'static str,
    /// Of the whole file, in hex.
    pub(crate) sha256: &'static str,
}

/// A package of the Debian archive and where apt finds it.
pub(crate) struct Origin {
    /// One line of apt's `sources.list(5)`, without type and options.
    pub(crate) archive: &'static str,
    /// `deb` or `deb-src`.
    pub(crate) kind: &'static str,
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
}

/// Makes sure that all `packages` are installed. Says which are missing when it cannot.
pub(crate) fn need_packages(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() || !has("apt-get") {
        bail!("missing: install the packages {}", missing.join(" "));
    }
    eprintln!("xtask: installing {}", missing.join(" "));
    let mut arguments = vec!["install", "--yes", "-qq", "--no-install-recommends"];
    arguments.extend(missing);
    if run("apt-get", &arguments).is_err() {
        run("apt-get", &["update", "-qq"])?;
        run("apt-get", &arguments)?;
    }
    Ok(())
}

/// Those of `packages` that are not installed; all of them where there is no dpkg to ask.
fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let installed = |package: &&str| {
        let output = Command::new("dpkg-query")
            .args(["--show", "--showformat", "${db:Status-Status}", package])
            .stderr(Stdio::null())
            .output();
        output.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
    };
    packages
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect()
}

/// Fetches the pinned files of a package into `directory`, unless they are there. What is there with another digest is
/// fetched again.
pub(crate) fn fetch(origin: &Origin, pins: &[Pin], directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let directory = &directory
        .canonicalize()
        .with_context(|| format!("cannot resolve {}", directory.display()))?;
    if pins.iter().all(|pin| check(directory, pin).is_ok()) {
        return Ok(());
    }
    let Origin { package, version, .. } = origin;
    eprintln!("xtask: fetching {package} {version} from the Debian archive");
    download(origin, directory).with_context(|| {
        let files: Vec<_> = pins
            .iter()
            .map(|pin| format!("{} (sha256 {})", pin.file, pin.sha256))
            .collect();
        format!(
            "cannot fetch {package} {version}: when the archive has moved on to another version, take these files \
             from Debian's snapshot archive and put them into {}: {}",
            directory.display(),
            files.join(", ")
        )
    })?;
    for pin in pins {
        check(directory, pin)?;
    }
    Ok(())
}

/// Checks a file's digest.
fn check(directory: &Path, pin: &Pin) -> Result<()> {
    let path = directory.join(pin.file);
    if !path.is_file() {
        bail!("{} is missing", path.display());
    }
    let digest = sha256(&path)?;
    if digest != pin.sha256 {
        bail!("{} has sha256 {digest}, not {}", path.display(), pin.sha256);
    }
    Ok(())
}

/// SHA-256 of a file, in hex.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum")
        .arg("--binary")
        .arg(path)
        .output()
        .context("cannot run sha256sum")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.split_whitespace().next() {
        // A leading backslash marks an escaped file name; see sha256sum(1).
        Some(digest) if output.status.success() => Ok(digest.trim_start_matches('\\').to_owned()),
        _ => bail!(
            "sha256sum {}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// Runs a program in `directory`; its output is shown only when it fails.
pub(crate) fn output(program: &str, arguments: &[&str], directory: &Path) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        bail!(
            "{program} {}: {}; it says:\n{tail}",
            arguments.join(" "),
            output.status
        );
    }
    Ok(())
}

fn download(origin: &Origin, directory: &Path) -> Result<()> {
    need("apt-get", "apt")?;
    need_packages(&["debian-archive-keyring"])?;
    let apt = Apt::create(&directory.join("apt"), origin)?;
    apt.run(&["update", "-qq"], directory)?;
    let wanted = format!("{}={}", origin.package, origin.version);
    match origin.kind {
        // Only upstream's archive is pinned; Debian's own files may have left the archive while it stays.
        "deb-src" => apt.run(
            &["source", "-qq", "--download-only", "--tar-only", &wanted],
            directory,
        ),
        _ => apt.run(&["download", "-qq", &wanted], directory),
    }
}

/// apt with a state of its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn create(state: &Path, origin: &Origin) -> Result<Self> {
        let directory = |name: &str| -> Result<PathBuf> {
            let path = state.join(name);
            fs::create_dir_all(path.join("partial"))?;
            Ok(path)
        };
        let (lists, cache) = (directory("lists")?, directory("cache")?);
        directory("cache/archives")?;
        let list = state.join("sources.list");
        // The files' digests are pinned as well; the signature gives the clearer error when a proxy answers with a page
        // of its own.
        let line = format!(
            "{} [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {}\n",
            origin.kind, origin.archive
        );
        fs::write(&list, line)?;
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        Ok(Self {
            options: vec![
                option("Dir::Etc::SourceList", &list),
                option("Dir::Etc::SourceParts", Path::new("/dev/null")),
                option("Dir::State::Lists", &lists),
                option("Dir::Cache", &cache),
                // The unprivileged user that apt would switch to may not be able to reach this directory.
                "APT::Sandbox::User=root".to_owned(),
            ],
        })
    }

    fn run(&self, arguments: &[&str], directory: &Path) -> Result<()> {
        let status = Command::new("apt-get")
            .args(self.options.iter().flat_map(|option| ["-o", option]))
            .args(arguments)
            .current_dir(directory)
            .status()
            .context("cannot run apt-get")?;
        if !status.success() {
            bail!("apt-get {}: {status}", arguments.join(" "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_another_digest_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("empty"), "").unwrap();
        let pin = |sha256| Pin {
            file: "empty",
            sha256,
        };
        let right = pin("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(check(directory.path(), &right).is_ok());
        let error = check(directory.path(), &pin("00")).unwrap_err().to_string();
        assert!(
            error.contains("/empty has sha256 e3b0") && error.ends_with("not 00"),
            "{error}"
        );
        fs::remove_file(directory.path().join("empty")).unwrap();
        assert!(
            check(directory.path(), &right)
                .unwrap_err()
                .to_string()
                .ends_with("is missing")
        );
    }

    #[test]
    fn a_package_that_cannot_exist_is_missing() {
        assert_eq!(missing(&["no-such-package"]), ["no-such-package"]);
    }
}
