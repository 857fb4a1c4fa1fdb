//! A sidecar that writes a line every two seconds and ends at SIGTERM, as programs do by default.

use std::time::Duration;

fn main() {
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "tick".to_owned());
    for count in 1.. {
        println!("{greeting}, {count}");
        std::thread::sleep(Duration::from_secs(2));
    }
}
