//! A program that does something else at each start, and writes down when it starts and ends.

use std::time::Duration;

/// Start N does step N, the last step again and again: `exit=CODE`, `after=MILLISECONDS=CODE`, `until=PATH=CODE` (once
/// that file exists), `sleep`. `directory` is a volume: it keeps the count in a file `name`, and lines in a file `log`.
pub fn take(directory: &str, name: &str, steps: &[&str]) {
    let counter = format!("{directory}/{name}");
    let starts: usize = std::fs::read_to_string(&counter).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    std::fs::write(&counter, (starts + 1).to_string()).expect("a writable file");
    let log = format!("{directory}/log");
    super::append(&log, &format!("{name} starts"));
    let words: Vec<&str> = steps[starts.min(steps.len() - 1)].split('=').collect();
    let code = match words.as_slice() {
        ["exit", code] => code,
        ["after", milliseconds, code] => {
            std::thread::sleep(Duration::from_millis(milliseconds.parse().expect("a number")));
            code
        }
        ["until", path, code] => {
            while std::fs::metadata(path).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
            code
        }
        ["sleep"] => return super::forever(),
        other => panic!("turn: {other:?}?"),
    };
    super::append(&log, &format!("{name} ends"));
    std::process::exit(code.parse().expect("a code"));
}
