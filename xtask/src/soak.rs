//! `cargo xtask soak [SECONDS]`: real servers under load through the ingress, and host-proxy's counters beside those of
//! clients and servers. The tests do the same for some seconds.

use std::process::ExitCode;
use std::time::Duration;

use ::tests::{Backend, Product, load};
use anyhow::{Context as _, Result, bail};

use crate::system::{need, root};
use crate::{build, image};

/// Unless told otherwise.
const SECONDS: u64 = 300;

/// Fails when a request is lost or a counter differs.
pub(crate) fn soak(arguments: &[String]) -> Result<ExitCode> {
    let seconds = match arguments {
        [] => SECONDS,
        [seconds] => seconds
            .parse()
            .with_context(|| format!("{seconds:?} is no number of seconds"))?,
        _ => bail!("soak takes a number of seconds, or nothing"),
    };
    need("wrk", "wrk")?;
    need("redis-benchmark", "redis-tools")?;
    let (nginx, redis) = (image::example("nginx")?, image::example("redis")?);
    let built = build::product()?;
    let product = Product {
        init: built.init,
        proxy: built.proxy,
        guests: root().join("target/images/guest"),
        backend: Backend::Local,
        environment: Vec::new(),
    };
    for tally in load::both(&product, &nginx, &redis, Duration::from_secs(seconds))? {
        print!("{tally}");
    }
    Ok(ExitCode::SUCCESS)
}
