//! `cargo xtask kernel`: the enclave's kernel, built reproducibly from the Debian kernel source package with the
//! configuration of `rootfs/kernel/cloister.config`. `docs/kernel.md` says what is on and why.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::debian::{self, Origin, Pin, need_packages};
use crate::system::root;
use crate::vm::{directory, kernel_version};

/// Kernel release.
pub(crate) const VERSION: &str = "6.12.117";
const SOURCE: Origin = Origin {
    archive: "http://deb.debian.org/debian-security bookworm-security main",
    kind: "deb",
    package: "linux-source-6.12",
    version: "6.12.117-1~deb12u1",
};
const PIN: Pin = Pin {
    file: "linux-source-6.12_6.12.117-1~deb12u1_all.deb",
    sha256: "e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703",
};
/// The time that the kernel says it was built at: that of the Debian package's last change.
const TIMESTAMP: &str = "2026-11-14T12:56:01Z";
/// Our only change of the source, see `docs/kernel.md`: the vsock driver stops receiving while too many of its replies
/// wait to be sent. Between two virtual machines, which is what Nitro connects, both ends can wait for each other so.
const EDIT: Edit = Edit {
    file: "net/vmw_vsock/virtio_transport.c",
    from: "\treturn val < virtqueue_get_vring_size(vq);\n",
    to: "\treturn true || val < virtqueue_get_vring_size(vq);\n",
};
/// What building needs besides a compiler. `libelf-dev` is for objtool, which the mitigations need.
const PACKAGES: [&str; 10] = [
    "gcc",
    "binutils",
    "libc6-dev",
    "make",
    "flex",
    "bison",
    "bc",
    "libelf-dev",
    "lz4",
    "xz-utils",
];

/// A text of the source and what replaces it.
struct Edit {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

/// `cargo xtask kernel`
pub(crate) fn kernel(arguments: &[String]) -> Result<()> {
    if let [argument, ..] = arguments {
        bail!("kernel takes no argument, not {argument:?}");
    }
    let image = build()?;
    println!(
        "{} {} sha256 {}",
        image.display(),
        VERSION,
        debian::sha256(&image)?
    );
    Ok(())
}

/// Builds `target/vm/bzImage`, unless the one that is there was made of the same source, fragment and tools.
pub(crate) fn build() -> Result<PathBuf> {
    let out = directory();
    let (image, key_file) = (out.join("bzImage"), out.join("bzImage.key"));
    let fragment = root().join("rootfs/kernel/cloister.config");
    let fits = |key: &str| image.is_file() && fs::read_to_string(&key_file).is_ok_and(|old| old == key);
    if key(&fragment).is_ok_and(|key| fits(&key)) {
        return Ok(image);
    }
    need_packages(&PACKAGES)?;
    let key = key(&fragment)?;
    debian::fetch(&SOURCE, &[PIN], &out.join("source"))?;
    let scratch = out.join("kernel");
    let tree = unpack(&out.join("source").join(PIN.file), &scratch)?;
    edit(&tree, &EDIT)?;
    configure(&tree, &fragment)?;
    let jobs = format!("-j{}", std::thread::available_parallelism()?);
    eprintln!("xtask: building the kernel; the log is {}", log(&tree).display());
    make(&tree, &[&jobs, "bzImage"])?;
    let built = tree.join("arch/x86/boot/bzImage");
    let version = kernel_version(&built)?;
    if version != VERSION {
        bail!("the source package makes a kernel {version}, not {VERSION}");
    }
    // The old key must not vouch for the new image, nor the new key for half an image.
    fs::remove_file(&key_file).or_else(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            Ok(())
        } else {
            Err(error)
        }
    })?;
    let new = out.join("bzImage.new");
    fs::copy(&built, &new)?;
    fs::rename(&new, &image)?;
    fs::copy(tree.join(".config"), out.join("bzImage.config"))?;
    fs::write(&key_file, key)?;
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    Ok(image)
}

/// What the image depends on.
fn key(fragment: &Path) -> Result<String> {
    let first_line = |program: &str| -> Result<String> {
        let output = Command::new(program)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    Ok(format!(
        "source: {} {}\nedit: {}: {}\ntime: {TIMESTAMP}\nfragment: sha256 {}\ncompiler: {}\nlinker: {}\n",
        SOURCE.package,
        SOURCE.version,
        EDIT.file,
        EDIT.to.trim(),
        debian::sha256(fragment)?,
        first_line("gcc")?,
        first_line("ld")?,
    ))
}

/// Unpacks the kernel's tree below `scratch`, from nothing: what an interrupted build left is of unknown state.
fn unpack(package: &Path, scratch: &Path) -> Result<PathBuf> {
    if scratch.exists() {
        fs::remove_dir_all(scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    }
    fs::create_dir_all(scratch)?;
    eprintln!("xtask: unpacking {}", package.display());
    let package = package.to_string_lossy();
    debian::output("dpkg-deb", &["--extract", &package, "."], scratch)?;
    debian::output("tar", &["-xJf", "usr/src/linux-source-6.12.tar.xz"], scratch)?;
    Ok(scratch.join("linux-source-6.12"))
}

/// Replaces a text that must be there exactly once.
fn edit(tree: &Path, edit: &Edit) -> Result<()> {
    let path = tree.join(edit.file);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let count = text.matches(edit.from).count();
    if count != 1 {
        bail!(
            "{} has the text to replace {count} times, not once: {:?}",
            edit.file,
            edit.from
        );
    }
    fs::write(&path, text.replace(edit.from, edit.to))?;
    Ok(())
}

/// `tinyconfig`, the fragment, and a check that the fragment got what it asked for.
fn configure(tree: &Path, fragment: &Path) -> Result<()> {
    make(tree, &["tinyconfig"])?;
    let asked = fs::read_to_string(fragment)?;
    let config = tree.join(".config");
    let merged = merge(&fs::read_to_string(&config)?, &asked);
    fs::write(&config, merged)?;
    make(tree, &["olddefconfig"])?;
    let denied = denied(&asked, &fs::read_to_string(&config)?);
    if !denied.is_empty() {
        bail!(
            "the kernel's configuration does not come out as {} asks: {}",
            fragment.display(),
            denied.join(", ")
        );
    }
    Ok(())
}

/// Runs make in the kernel's own tree, where all paths that the compiler sees are relative.
fn make(tree: &Path, arguments: &[&str]) -> Result<()> {
    let log = log(tree);
    let mut file = fs::File::options().create(true).append(true).open(&log)?;
    writeln!(file, "make {}", arguments.join(" "))?;
    let map = format!("-ffile-prefix-map={}=linux", tree.display());
    let status = Command::new("make")
        .args(arguments)
        .current_dir(tree)
        // Nothing of the caller's settings may reach the image.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("KBUILD_BUILD_TIMESTAMP", TIMESTAMP)
        .env("KBUILD_BUILD_USER", "cloister")
        .env("KBUILD_BUILD_HOST", "cloister")
        .env("KBUILD_BUILD_VERSION", "1")
        .env("KCFLAGS", &map)
        .env("KAFLAGS", &map)
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .context("cannot run make")?;
    if !status.success() {
        let text = fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        bail!(
            "make {}: {status}; {} ends with:\n{tail}",
            arguments.join(" "),
            log.display()
        );
    }
    Ok(())
}

/// Beside the tree, so that it is there after a failure.
fn log(tree: &Path) -> PathBuf {
    tree.with_file_name("build.log")
}

/// An option and its value, from a line of a configuration; `n` for one that is not set.
fn option(line: &str) -> Option<(&str, &str)> {
    if let Some(name) = line
        .strip_prefix("# ")
        .and_then(|line| line.strip_suffix(" is not set"))
    {
        return name.starts_with("CONFIG_").then_some((name, "n"));
    }
    line.split_once('=')
        .filter(|(name, _)| name.starts_with("CONFIG_"))
}

fn options(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| option(line.trim_end()))
}

/// `base` without what the fragment speaks about, then the fragment.
fn merge(base: &str, fragment: &str) -> String {
    let spoken: Vec<&str> = options(fragment).map(|(name, _)| name).collect();
    let kept = base
        .lines()
        .filter(|line| option(line).is_none_or(|(name, _)| !spoken.contains(&name)));
    let mut merged = String::new();
    for line in kept.chain(fragment.lines()) {
        merged.push_str(line);
        merged.push('\n');
    }
    merged
}

/// What `asked` wants and `got` does not have, in words. An option that does not exist is as good as one that is off.
fn denied(asked: &str, got: &str) -> Vec<String> {
    let find = |wanted: &str| {
        options(got)
            .find(|(name, _)| *name == wanted)
            .map_or("n", |(_, value)| value)
    };
    options(asked)
        .filter(|(name, value)| find(name) != *value)
        .map(|(name, value)| format!("{name} is {}, not {value}", find(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_replaces_what_it_speaks_about() {
        let base = "# Kernel\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_AB=y\n";
        let merged = merge(base, "# Reason\nCONFIG_B=y\n# CONFIG_A is not set\n");
        assert_eq!(
            merged,
            "# Kernel\nCONFIG_AB=y\n# Reason\nCONFIG_B=y\n# CONFIG_A is not set\n"
        );
    }

    #[test]
    fn every_option_that_did_not_come_out_is_named() {
        let asked = "CONFIG_A=y\nCONFIG_B=64\n# CONFIG_C is not set\n# CONFIG_D is not set\nCONFIG_E=y\n";
        let got = "CONFIG_A=y\nCONFIG_B=8\n# CONFIG_C is not set\nCONFIG_D=y\n";
        let denied = denied(asked, got);
        assert_eq!(
            denied,
            [
                "CONFIG_B is 8, not 64",
                "CONFIG_D is y, not n",
                "CONFIG_E is n, not y"
            ]
        );
    }

    #[test]
    fn an_edit_that_does_not_fit_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let change = Edit {
            file: "a.c",
            from: "old\n",
            to: "new\n",
        };
        fs::write(directory.path().join("a.c"), "1\nold\n2\n").unwrap();
        edit(directory.path(), &change).unwrap();
        assert_eq!(
            fs::read_to_string(directory.path().join("a.c")).unwrap(),
            "1\nnew\n2\n"
        );
        let error = edit(directory.path(), &change).unwrap_err().to_string();
        assert!(
            error.starts_with("a.c has the text to replace 0 times"),
            "{error}"
        );
    }

    #[test]
    fn every_option_of_the_fragment_has_its_reason_in_the_documentation() {
        let reasons = include_str!("../../docs/kernel.md");
        let fragment = include_str!("../../rootfs/kernel/cloister.config");
        let missing: Vec<String> = options(fragment)
            .map(|(name, value)| {
                let name = name.trim_start_matches("CONFIG_");
                match value {
                    "y" | "n" => format!("`{name}`"),
                    _ => format!("`{name}={value}`"),
                }
            })
            .filter(|name| !reasons.contains(name))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn the_fragment_asks_for_each_option_once() {
        let fragment = include_str!("../../rootfs/kernel/cloister.config");
        let mut names: Vec<&str> = options(fragment).map(|(name, _)| name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        let strange: Vec<&str> = fragment
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#') && option(line).is_none())
            .collect();
        assert!(strange.is_empty(), "{strange:?}");
    }
}
