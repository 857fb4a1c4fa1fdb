//! What is refused from the text alone, before the YAML parser runs.

/// Deepest flow nesting; libyaml's work grows with the square of it.
const MAX_DEPTH: usize = 512;

/// Refuses deep nesting and plain scalars that YAML 1.1 (kubectl) reads as booleans and YAML 1.2 as strings.
/// Brackets in strings count too: only hundreds that are never closed would matter.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    let mut block: Option<usize> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > MAX_DEPTH {
                return Err(format!("line {number}: nested more than {MAX_DEPTH} levels deep"));
            }
        }
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if content.is_empty() || block.is_some_and(|parent| indent > parent) {
            continue;
        }
        block = None;
        let Some(scalar) = last_scalar(content) else {
            continue;
        };
        if scalar.starts_with(['|', '>']) {
            block = Some(indent);
        } else if ambiguous(scalar) {
            return Err(format!(
                "line {number}: `{scalar}` is a boolean to kubectl and text here: put it in quotes"
            ));
        }
    }
    Ok(())
}

/// The value of `key: value` or `- value`, without its comment.
fn last_scalar(content: &str) -> Option<&str> {
    let item = content.strip_prefix("- ").map(str::trim_start);
    let line = item.unwrap_or(content);
    let value = match line.split_once(": ") {
        Some((_, value)) => value,
        None => item?,
    };
    Some(value.split(" #").next().unwrap_or(value).trim())
}

fn ambiguous(scalar: &str) -> bool {
    ["y", "n", "yes", "no", "on", "off"]
        .iter()
        .any(|word| scalar.eq_ignore_ascii_case(word))
}
