//! Values of flags: text → type, or what is wrong with it.

use std::net::SocketAddr;

use manifest_sync::plan::Protocol;

use super::Publish;

/// The name becomes a directory: a DNS label, as Kubernetes names are.
pub(super) fn name(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = text.len() <= 63 && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-');
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a name: use a-z, 0-9 and -"))
    }
}

/// A number above 0, in decimal digits.
pub(super) fn positive<T: std::str::FromStr + PartialOrd + Default>(text: &str) -> Result<T, String> {
    text.parse()
        .ok()
        .filter(|number| *number > T::default())
        .ok_or_else(|| format!("`{text}` is not a number above 0"))
}

/// `8080:80` or `5353:53/udp`.
pub(super) fn publish(text: &str) -> Result<Publish, String> {
    let wrong = || format!("`{text}` is not HOST:CONTAINER, for instance 8080:80 or 5353:53/udp");
    let (ports, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return Err(wrong()),
    };
    let (host, container) = ports.split_once(':').ok_or_else(wrong)?;
    let host = host.parse().map_err(|_| wrong())?;
    match container.parse() {
        Ok(container) if container > 0 => Ok(Publish {
            host,
            container,
            protocol,
        }),
        _ => Err(wrong()),
    }
}

/// `none` is off.
pub(super) fn http_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "none" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| format!("`{text}` is not IP:PORT, for instance 127.0.0.1:9090, or none"))
}

/// One of a few words.
pub(super) fn choice<T: Copy>(text: &str, all: &[(&str, T)]) -> Result<T, String> {
    all.iter()
        .find(|(name, _)| *name == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
            format!("`{text}` is not one of: {}", names.join(", "))
        })
}
