//! Images: OCI layouts from this repository's programs, a directory, or the Debian archive.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rootfs::image::ImageConfig;
use rootfs::write::LayoutWriter;

use crate::build::program;
use crate::system::{need, root, run};

/// `cargo xtask image …`
pub(crate) fn image(arguments: &[String]) -> Result<()> {
    let [name] = arguments else {
        return from_directory(arguments);
    };
    if name.starts_with("--") {
        return from_directory(arguments);
    }
    let layout = example(name)?;
    println!("{}", layout.display());
    Ok(())
}

/// Builds the images of an example; returns the layout.
pub(crate) fn example(name: &str) -> Result<PathBuf> {
    let layout = root().join("target/images").join(name);
    match name {
        "web" => {
            for program in ["http", "ticker"] {
                from_program(
                    &layout,
                    &format!("web-{program}:latest"),
                    &root().join(format!("examples/web/{program}.rs")),
                )?;
            }
        }
        "redis" => debian(
            &layout,
            "redis:latest",
            "redis-server,redis-tools,libc6,base-passwd",
            "/usr/bin/redis-server",
        )?,
        "curl" => debian(
            &layout,
            "curl:latest",
            "curl,ca-certificates,libc6,base-passwd",
            "/usr/bin/curl",
        )?,
        "nginx" => debian(
            &layout,
            "nginx:latest",
            "nginx,libc6,base-passwd",
            "/usr/sbin/nginx",
        )?,
        other => bail!("no example {other:?}; there are: web, redis, curl, nginx"),
    }
    Ok(layout)
}

/// An image whose only file is a program of one source file.
pub(crate) fn from_program(layout: &Path, name: &str, source: &Path) -> Result<()> {
    from_program_as(layout, source, &[(name, ImageConfig::default())])
}

/// Images whose only file is the same program; it is their entrypoint, the rest of their configurations is given.
pub(crate) fn from_program_as(layout: &Path, source: &Path, images: &[(&str, ImageConfig)]) -> Result<()> {
    let stem = source
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let tree = tempfile::tempdir()?;
    program(source, &tree.path().join(&stem))?;
    for (name, config) in images {
        write(layout, name, tree.path(), entrypoint(&stem, config))?;
    }
    Ok(())
}

/// An image whose only file is this program.
pub(crate) fn from_binary(layout: &Path, name: &str, binary: &Path) -> Result<()> {
    let file = binary.file_name().unwrap_or_default();
    let tree = tempfile::tempdir()?;
    fs::copy(binary, tree.path().join(file)).with_context(|| format!("cannot copy {}", binary.display()))?;
    let config = entrypoint(&file.to_string_lossy(), &ImageConfig::default());
    write(layout, name, tree.path(), config)
}

/// This configuration, with the program at the root as what is executed.
fn entrypoint(program: &str, config: &ImageConfig) -> ImageConfig {
    ImageConfig {
        entrypoint: Some(vec![format!("/{program}")]),
        ..config.clone()
    }
}

fn write(layout: &Path, name: &str, tree: &Path, config: ImageConfig) -> Result<()> {
    let writer = LayoutWriter::create(layout)?;
    let layer = writer.add_layer(tree, true)?;
    let digest = writer.write_image(name, config, &[layer])?;
    eprintln!("xtask: image {name} is {digest}");
    Ok(())
}

fn from_directory(arguments: &[String]) -> Result<()> {
    let mut values: [Option<String>; 3] = [None, None, None];
    let mut entrypoint = Vec::new();
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let value = rest
            .next()
            .with_context(|| format!("{flag} needs a value"))?
            .clone();
        match flag.as_str() {
            "--from-dir" => values[0] = Some(value),
            "--name" => values[1] = Some(value),
            "--out" => values[2] = Some(value),
            "--entrypoint" => entrypoint.push(value),
            other => bail!("no flag {other:?} for image: see `cargo xtask help`"),
        }
    }
    let [Some(tree), Some(name), Some(out)] = values else {
        bail!("image needs the name of an example, or --from-dir, --name and --out");
    };
    let config = ImageConfig {
        entrypoint: (!entrypoint.is_empty()).then_some(entrypoint),
        ..ImageConfig::default()
    };
    write(Path::new(&out), &name, Path::new(&tree), config)
}

/// A program of the Debian archive with what it needs to run, and nothing else: no package manager, no documentation.
fn debian(layout: &Path, name: &str, packages: &str, entrypoint: &str) -> Result<()> {
    if layout.join("index.json").exists() {
        return Ok(());
    }
    need("mmdebstrap", "mmdebstrap")?;
    let scratch = tempfile::tempdir()?;
    let archive = scratch.path().join("root.tar");
    let archive = archive.to_string_lossy();
    let suite = debian_suite();
    run(
        "mmdebstrap",
        &[
            "--variant=extract",
            &format!("--include={packages}"),
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--quiet",
            &suite,
            &archive,
        ],
    )?;
    let writer = LayoutWriter::create(layout)?;
    let layer = writer.add_layer_tar(fs::File::open(archive.as_ref())?, true)?;
    let config = ImageConfig {
        entrypoint: Some(vec![entrypoint.to_owned()]),
        ..ImageConfig::default()
    };
    let digest = writer.write_image(name, config, &[layer])?;
    eprintln!("xtask: image {name} is {digest}");
    Ok(())
}

/// The release that this machine runs, whose archive it can reach.
fn debian_suite() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    suite.unwrap_or("stable").trim_matches('"').to_owned()
}
