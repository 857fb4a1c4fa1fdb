//! Which word somebody may have meant.

/// `; did you mean …?`, or nothing.
pub(super) fn suggestion(typed: &str, known: &[&'static str]) -> String {
    nearest(typed, known)
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// The known word at an edit distance of at most 2, or one that starts with what was typed.
pub(super) fn nearest(typed: &str, known: &[&'static str]) -> Option<&'static str> {
    let best = known.iter().map(|name| (distance(typed, name), *name)).min()?;
    if best.0 <= 2 && best.0 < typed.chars().count() {
        return Some(best.1);
    }
    known
        .iter()
        .copied()
        .find(|name| typed.len() >= 3 && name.starts_with(typed))
}

/// Levenshtein distance, one row at a time.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = index;
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
        for (column, b) in right.iter().enumerate() {
            let substitute = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = substitute.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
