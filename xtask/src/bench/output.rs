//! What a group of benchmarks leaves behind: files, and blocks of a page that people have written. Everything is written
//! at the end, each file at once, so that a run that fails leaves what was there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::system::root;

/// The page whose blocks are replaced.
const PAGE: &str = "docs/performance.md";

/// What was measured, not yet written.
#[derive(Default)]
pub(super) struct Output {
    files: Vec<(String, String)>,
    blocks: Vec<(String, String)>,
}

impl Output {
    /// A file beside the page's plots.
    pub(super) fn file(&mut self, name: String, text: String) {
        self.files.push((name, text));
    }

    /// What the block `name` of the page shall say; it is printed, too.
    pub(super) fn block(&mut self, name: &str, text: String) {
        println!("{name}\n\n{text}");
        self.blocks.push((name.to_owned(), text));
    }

    /// Writes everything: into the documentation when `in_docs`, else below `target/bench`, without the page.
    pub(super) fn write(self, in_docs: bool) -> Result<()> {
        let directory = root().join(if in_docs {
            "docs/performance"
        } else {
            "target/bench"
        });
        let page = root().join(PAGE);
        let mut files: Vec<(PathBuf, String)> = Vec::new();
        if in_docs {
            let mut text = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
            for (name, block) in &self.blocks {
                text = with_block(&text, name, block)?;
            }
            files.push((page, text));
        }
        for (name, text) in self.files {
            files.push((directory.join(name), text));
        }
        fs::create_dir_all(&directory)?;
        for (path, text) in &files {
            fs::write(beside(path), text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        for (path, _) in &files {
            fs::rename(beside(path), path)?;
            println!("written to {}", path.display());
        }
        Ok(())
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// The page with this between the two marks of the block.
fn with_block(page: &str, name: &str, block: &str) -> Result<String> {
    let begin = format!("<!-- measured: {name} -->\n");
    let marks = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once("<!-- end -->\n")?;
        Some((before, after))
    });
    let (before, after) =
        marks.with_context(|| format!("{PAGE} has no block `measured: {name}` that ends with `end`"))?;
    Ok(format!(
        "{before}{begin}\n{}\n\n<!-- end -->\n{after}",
        block.trim_end()
    ))
}

/// Fails when the page has no place for one of these blocks, before anything is measured.
pub(super) fn check(names: &[&str]) -> Result<()> {
    let text = fs::read_to_string(root().join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    for name in names {
        with_block(&text, name, "")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_replaced_and_what_people_wrote_stays() {
        let page =
            "# Title\n\n<!-- measured: a -->\nold\n<!-- end -->\nwords\n<!-- measured: b -->\n<!-- end -->\n";
        let new = with_block(page, "a", "| new |\n").expect("the block is there");
        assert_eq!(
            new,
            "# Title\n\n<!-- measured: a -->\n\n| new |\n\n<!-- end -->\nwords\n<!-- measured: b -->\n<!-- end -->\n"
        );
        assert_eq!(with_block(&new, "a", "| new |").expect("still there"), new);
        assert!(with_block(page, "c", "").is_err());
    }

    #[test]
    fn the_page_has_a_place_for_everything() {
        check(&super::super::BLOCKS).expect("all blocks");
    }
}
