//! What only a machine of its own can show: its measurements, its security module, its limits and its end. Runs in an
//! emulated enclave, by `cargo xtask test --vm`. Faults that it shows are numbered in the files' headers: F7, F11, F14, F26,
//! F27, F31, F32, F33.

mod bombs;
mod commands;
mod end;
mod image;
mod limits;
mod modular;
mod resize;
mod security_module;

use std::path::PathBuf;

use serde_json::Value;
use tests::{Backend, Product, Up, product, wait_for};

/// Exit code of `host-proxy up` when the bundle was rejected.
pub(crate) const REJECTED: i32 = 65;
/// Exit code of `host-proxy up` when the enclave is gone without a word.
pub(crate) const DIED: i32 = 70;

pub(crate) fn variable(name: &str) -> PathBuf {
    std::env::var_os(name)
        .unwrap_or_else(|| {
            panic!("{name} is not set: run `cargo xtask test --vm`, for modular:: with --modular")
        })
        .into()
}

/// The product in another enclave image.
pub(crate) fn product_in(eif: PathBuf) -> Product {
    let product = product().expect("the built product");
    assert_ne!(
        product.backend,
        Backend::Local,
        "these tests need an emulated machine"
    );
    Product {
        backend: Backend::Qemu { eif },
        ..product
    }
}

/// The enclave image of the product.
pub(crate) fn machine() -> Product {
    product_in(variable("CLOISTER_EIF"))
}

/// The enclave image with a base service that shows what PID 1 has measured.
pub(crate) fn measured() -> Product {
    product_in(variable("CLOISTER_MEASURED_EIF"))
}

#[track_caller]
pub(crate) fn says(text: &str, line: &str) {
    assert!(
        text.lines().any(|have| have.trim_end().ends_with(line)),
        "no line ends with {line:?} in:\n{text}"
    );
}

/// Runs a container with these settings to its `end`; returns its lines.
pub(crate) fn lines_of(up: &Up, name: &str) -> String {
    wait_for(&format!("the end of what {name} says"), || {
        let text = up.stdout();
        let of_it = |line| {
            let (who, rest) = str::split_once(line, "| ")?;
            (who.split_whitespace().last() == Some(name)).then_some(rest)
        };
        let lines: Vec<&str> = text.lines().filter_map(of_it).collect();
        lines.contains(&"end").then(|| lines.join("\n"))
    })
}

pub(crate) fn with(mut container: Value, key: &str, value: Value) -> Value {
    container[key] = value;
    container
}
