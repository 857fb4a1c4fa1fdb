//! `cargo xtask kernel`: the enclave's kernel, built reproducibly from the Debian kernel source package with the
//! configuration of `rootfs/kernel/cloister.config`. `docs/kernel.md` says what is on and why. A second variant, for tests,
//! has the security module's driver as a module.

mod config;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use self::config::{denied, merge, stray_modules};
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
/// The built image in the kernel's tree.
const IMAGE: &str = "arch/x86/boot/bzImage";
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

/// The kernel of enclaves.
const PRODUCT: Variant = Variant {
    image: "bzImage",
    fragments: &["cloister.config"],
    modules: &[],
};
/// The same with the security module's driver as a module, as AWS's kernel has it.
const MODULAR: Variant = Variant {
    image: "bzImage-modular",
    fragments: &["cloister.config", "modular.config"],
    modules: &["drivers/misc/nsm.ko"],
};

/// A kernel that can be built here.
struct Variant {
    /// Name of the image in `target/vm`, where its key and its configuration are named after it.
    image: &'static str,
    /// Files of `rootfs/kernel`. What a later one says replaces what an earlier one said.
    fragments: &'static [&'static str],
    /// The modules that come with it, by their places in the kernel's tree.
    modules: &'static [&'static str],
}

/// A kernel and the module that it needs to have a security module.
pub(crate) struct Modular {
    pub(crate) kernel: PathBuf,
    pub(crate) module: PathBuf,
}

/// A text of the source and what replaces it.
struct Edit {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

/// `cargo xtask kernel [--modular]`
pub(crate) fn kernel(arguments: &[String]) -> Result<()> {
    let files = match arguments {
        [] => vec![build()?],
        [flag] if flag == "--modular" => {
            let Modular { kernel, module } = build_modular()?;
            vec![kernel, module]
        }
        _ => bail!("kernel takes --modular or nothing, not {arguments:?}"),
    };
    for file in files {
        println!("{} {} sha256 {}", file.display(), VERSION, debian::sha256(&file)?);
    }
    Ok(())
}

/// Builds `target/vm/bzImage`, unless the one that is there was made of the same source, fragment and tools.
pub(crate) fn build() -> Result<PathBuf> {
    PRODUCT.build()?;
    Ok(directory().join(PRODUCT.image))
}

/// Builds `target/vm/bzImage-modular` and `target/vm/nsm.ko` in the same way.
pub(crate) fn build_modular() -> Result<Modular> {
    MODULAR.build()?;
    Ok(Modular {
        kernel: directory().join(MODULAR.image),
        module: directory().join("nsm.ko"),
    })
}

impl Variant {
    /// Builds everything of it, unless what is there fits.
    fn build(&self) -> Result<()> {
        let out = directory();
        let key_file = out.join(format!("{}.key", self.image));
        let results = self.results();
        let there = results.iter().all(|(_, name)| out.join(name).is_file());
        let fits = |key: &str| there && fs::read_to_string(&key_file).is_ok_and(|old| old == key);
        if self.key().is_ok_and(|key| fits(&key)) {
            return Ok(());
        }
        need_packages(&PACKAGES)?;
        let key = self.key()?;
        debian::fetch(&SOURCE, &[PIN], &out.join("source"))?;
        let scratch = out.join(format!("build-{}", self.image));
        let tree = unpack(&out.join("source").join(PIN.file), &scratch)?;
        edit(&tree, &EDIT)?;
        configure(&tree, &self.fragments()?)?;
        self.make(&tree)?;
        // The old key must not vouch for the new image, nor the new key for half an image.
        fs::remove_file(&key_file).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        for (built, name) in &results {
            let new = out.join(format!("{name}.new"));
            fs::copy(tree.join(built), &new).with_context(|| format!("cannot copy {built}"))?;
            fs::rename(&new, out.join(name))?;
        }
        fs::copy(tree.join(".config"), out.join(format!("{}.config", self.image)))?;
        fs::write(&key_file, key)?;
        fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
    }

    /// What is built: the place in the kernel's tree, and the name in `target/vm`.
    fn results(&self) -> Vec<(&'static str, &'static str)> {
        let mut results = vec![(IMAGE, self.image)];
        for module in self.modules {
            let name = module.rsplit('/').next().unwrap_or(module);
            results.push((module, name));
        }
        results
    }

    fn make(&self, tree: &Path) -> Result<()> {
        let jobs = format!("-j{}", std::thread::available_parallelism()?);
        eprintln!("xtask: building the kernel; the log is {}", log(tree).display());
        if self.modules.is_empty() {
            make(tree, &[&jobs, "bzImage"])?;
        } else {
            make(tree, &[&jobs, "bzImage", "modules"])?;
        }
        let version = kernel_version(&tree.join(IMAGE))?;
        if version != VERSION {
            bail!("the source package makes a kernel {version}, not {VERSION}");
        }
        Ok(())
    }

    /// What all fragments ask for together.
    fn fragments(&self) -> Result<String> {
        let mut asked = String::new();
        for name in self.fragments {
            let path = fragment(name);
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            asked = merge(&asked, &text);
        }
        Ok(asked)
    }

    /// What the results depend on.
    fn key(&self) -> Result<String> {
        let mut fragments = String::new();
        for name in self.fragments {
            fragments += &format!("fragment: sha256 {}\n", debian::sha256(&fragment(name))?);
        }
        Ok(format!(
            "source: {} {}\nedit: {}: {}\ntime: {TIMESTAMP}\n{fragments}compiler: {}\nlinker: {}\n",
            SOURCE.package,
            SOURCE.version,
            EDIT.file,
            EDIT.to.trim(),
            first_line("gcc")?,
            first_line("ld")?,
        ))
    }
}

fn fragment(name: &str) -> PathBuf {
    root().join("rootfs/kernel").join(name)
}

/// What a tool says that it is.
fn first_line(program: &str) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
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

/// `tinyconfig`, what the fragments ask for, and a check that it came out so.
fn configure(tree: &Path, asked: &str) -> Result<()> {
    make(tree, &["tinyconfig"])?;
    let config = tree.join(".config");
    let merged = merge(&fs::read_to_string(&config)?, asked);
    fs::write(&config, merged)?;
    make(tree, &["olddefconfig"])?;
    let got = fs::read_to_string(&config)?;
    let wrong = [denied(asked, &got), stray_modules(asked, &got)].concat();
    if !wrong.is_empty() {
        bail!(
            "the kernel's configuration does not come out as rootfs/kernel asks: {}",
            wrong.join(", ")
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
