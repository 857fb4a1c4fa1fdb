//! `docs/benchmarks.md`: one section with one table for each group, so that a group can be measured again alone.

use std::fmt::Write as _;

use super::Row;

/// What stands above the sections.
const HEADER: &str = "\
# Benchmarks

`cargo xtask bench` measures these on the machine it runs on, each beside a peer or a raw limit in the same run. The
last run of each group is below: two shared cores, so only the ratios travel. Two numbers in brackets are the 10th and 90th
percentile around a median. `--write` replaces the tables, `cargo xtask bench GROUP --write` one of them. The relay and the logs
have [a page of their own](performance.md), with plots.
";

pub(super) fn table(rows: &[Row]) -> String {
    let mut text =
        String::from("| what | ours | peer in the same run | ratio | budget |\n|---|---:|---:|---:|---|\n");
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.what, row.ours, row.peer, row.ratio, row.budget
        );
    }
    text
}

/// The page with this section new, in its old place; at the end when it had none.
pub(super) fn with_section(page: &str, title: &str, table: &str) -> String {
    let section = format!("{title}\n\n{table}");
    let is_it = |old: &str| old.lines().next() == Some(title);
    let mut sections: Vec<&str> = page.split("\n## ").skip(1).map(str::trim_end).collect();
    match sections.iter_mut().find(|old| is_it(old)) {
        Some(old) => *old = section.trim_end(),
        None => sections.push(section.trim_end()),
    }
    sections.iter().fold(HEADER.to_owned(), |mut text, section| {
        let _ = write!(text, "\n## {section}\n");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_in_its_place_and_the_others_stay() {
        let one = with_section("", "One", "| 1 |\n");
        let two = with_section(&one, "Two", "| 2 |\n");
        let again = with_section(&two, "One", "| 3 |\n");
        assert_eq!(one, format!("{HEADER}\n## One\n\n| 1 |\n"));
        assert_eq!(again, format!("{HEADER}\n## One\n\n| 3 |\n\n## Two\n\n| 2 |\n"));
        assert_eq!(with_section(&again, "Two", "| 2 |\n"), again);
    }
}
