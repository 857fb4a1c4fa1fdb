//! `cargo xtask conformance`: runs the tests of the conformance cases and says, case by case, what came of it.
//!
//! `tests/conformance.tsv` lists the cases. The name of a case's test starts with its id, wherever the test lives:
//! `lc_001_…` for LC-001. A case passes when all its tests do; a case without a test and without a reason why it does
//! not apply fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::system::root;
use crate::test;

const CASES: &str = "tests/conformance.tsv";
const REPORT: &str = "docs/conformance.md";
/// What the names of these tests, and of no others, start with.
pub(crate) const PREFIX: &str = "lc_";

/// Runs every case; with `--local`, only the tests that need no virtual machine, and writes no report.
pub(crate) fn conformance(arguments: &[String]) -> Result<ExitCode> {
    let local = match arguments {
        [] => false,
        [flag] if flag == "--local" => true,
        _ => bail!("usage: cargo xtask conformance [--local]"),
    };
    let cases = cases()?;
    let mut results = Results::default();
    results.collect(test::conformance_here()?)?;
    if !local {
        results.collect(test::conformance_in_machines()?)?;
    }
    let rows: Vec<Row> = cases.iter().map(|case| Row::of(case, &results)).collect();
    let table = table(&rows);
    print!("{table}");
    if !local {
        let path = root().join(REPORT);
        std::fs::write(&path, report(&table)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let unknown = results.unknown(&cases);
    if !unknown.is_empty() {
        bail!("{CASES} has no case for {}", unknown.join(", "));
    }
    Ok(if rows.iter().any(|row| row.verdict == Verdict::Fail) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// One line of the list.
#[derive(Debug)]
struct Case {
    id: String,
    title: String,
    not_applicable: Option<String>,
}

fn cases() -> Result<Vec<Case>> {
    let path = root().join(CASES);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [id, title, reason] => Ok(Case {
                id: id.to_owned(),
                title: title.to_owned(),
                not_applicable: Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty()),
            }),
            _ => bail!("{CASES}: {line:?} is not an id, a title and a reason, separated by tabs"),
        })
        .collect()
}

/// What became of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped(String),
}

/// What became of every test, by the id of its case (`LC-001`) and its name.
#[derive(Debug, Default)]
struct Results(BTreeMap<String, BTreeMap<String, Outcome>>);

impl Results {
    /// Runs `cargo test`, shows what it says, and takes note of it.
    fn collect(&mut self, mut cargo: Command) -> Result<()> {
        let mut child = cargo
            .current_dir(root())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo test")?;
        let mut reader = Reader::default();
        let mut finished = false;
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).split(b'\n') {
                let line = String::from_utf8_lossy(&line?).into_owned();
                println!("{line}");
                finished |= line.starts_with("test result: ");
                reader.take(&line, self);
            }
        }
        // Its exit status says no more than what the tests said, unless none ran at all.
        let status = child.wait()?;
        if !finished {
            bail!("cargo test ran no test: {status}");
        }
        Ok(())
    }

    fn note(&mut self, name: &str, outcome: Outcome) {
        if let Some(id) = case_of(name) {
            self.0.entry(id).or_default().insert(name.to_owned(), outcome);
        }
    }

    fn unknown(&self, cases: &[Case]) -> Vec<String> {
        let known = |id: &String| cases.iter().any(|case| &case.id == id);
        self.0.keys().filter(|id| !known(id)).cloned().collect()
    }
}

/// `restart::lc_001_restarts` is of LC-001.
fn case_of(name: &str) -> Option<String> {
    let function = name.rsplit("::").next()?;
    let number = function.strip_prefix(PREFIX)?.split('_').next()?;
    Some(format!("LC-{number}"))
}

/// Reads what libtest prints with `--show-output`: a line for each test, then a section for each that printed anything.
#[derive(Debug, Default)]
struct Reader {
    /// Whose output the lines are.
    section: Option<String>,
}

impl Reader {
    fn take(&mut self, line: &str, results: &mut Results) {
        if let Some(rest) = line.strip_prefix("test ")
            && let Some((name, result)) = rest.split_once(" ... ")
        {
            let outcome = match result.split([',', ' ']).next() {
                Some("ok") => Outcome::Passed,
                Some("ignored") => Outcome::Skipped(result.to_owned()),
                _ => Outcome::Failed,
            };
            return results.note(name, outcome);
        }
        if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|line| line.strip_suffix(" stdout ----"))
        {
            self.section = Some(name.to_owned());
        } else if line.starts_with("successes:") || line.starts_with("test result: ") {
            self.section = None;
        } else if let Some(name) = &self.section
            && let Some(reason) = line.strip_prefix(test::SKIPPED)
        {
            let reason = reason.trim_start_matches(':').trim();
            results.note(name, Outcome::Skipped(reason.to_owned()));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail,
    Skip,
    NotApplicable,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::NotApplicable => "n/a",
        }
    }
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    id: String,
    verdict: Verdict,
    title: String,
    /// Why, where it is not a pass.
    reason: String,
}

impl Row {
    fn of(case: &Case, results: &Results) -> Self {
        let (verdict, reason) = judge(case, results.0.get(&case.id));
        Self {
            id: case.id.clone(),
            verdict,
            title: case.title.clone(),
            reason,
        }
    }
}

fn judge(case: &Case, tests: Option<&BTreeMap<String, Outcome>>) -> (Verdict, String) {
    let Some(tests) = tests else {
        return match &case.not_applicable {
            Some(reason) => (Verdict::NotApplicable, reason.clone()),
            None => (Verdict::Fail, "there is no test".to_owned()),
        };
    };
    let failed: Vec<&str> = tests
        .iter()
        .filter(|(_, outcome)| **outcome == Outcome::Failed)
        .map(|(name, _)| name.as_str())
        .collect();
    if !failed.is_empty() {
        return (Verdict::Fail, failed.join(", "));
    }
    let skipped = tests.values().find_map(|outcome| match outcome {
        Outcome::Skipped(reason) => Some(reason.clone()),
        _ => None,
    });
    match (skipped, &case.not_applicable) {
        (Some(reason), _) => (Verdict::Skip, reason),
        // Part of the case applies, and that part is tested.
        (None, Some(reason)) => (Verdict::Pass, format!("in part: {reason}")),
        (None, None) => (Verdict::Pass, String::new()),
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = "| case | result | what | why |\n|---|---|---|---|\n".to_owned();
    for row in rows {
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} |",
            row.id,
            row.verdict.name(),
            cell(&row.title),
            cell(&row.reason)
        );
    }
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let _ = writeln!(
        table,
        "\n{} cases: {} pass, {} fail, {} skip, {} not applicable",
        rows.len(),
        count(Verdict::Pass),
        count(Verdict::Fail),
        count(Verdict::Skip),
        count(Verdict::NotApplicable)
    );
    table
}

fn report(table: &str) -> String {
    format!(
        "# Conformance\n\nWritten by `cargo xtask conformance`. The cases are those of Kubernetes' own test suites that concern a kubelet \
         (and some derived from its code); what is different in an enclave, and why, is in \
         [Kubernetes compatibility](kubernetes-compatibility.md). \"not applicable\" says what is missing in an enclave.\n\n{table}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(reason: Option<&str>) -> Case {
        Case {
            id: "LC-001".to_owned(),
            title: "a | b".to_owned(),
            not_applicable: reason.map(str::to_owned),
        }
    }

    fn read(output: &str) -> Results {
        let (mut results, mut reader) = (Results::default(), Reader::default());
        for line in output.lines() {
            reader.take(line, &mut results);
        }
        results
    }

    #[test]
    fn a_case_passes_when_all_its_tests_do() {
        let results = read("test a::lc_001_x ... ok\ntest b::lc_001_y ... ok\ntest c::other ... FAILED");
        let row = Row::of(&case(None), &results);
        assert_eq!((row.verdict, row.reason.as_str()), (Verdict::Pass, ""));
        let results = read("test a::lc_001_x ... ok\ntest b::lc_001_y ... FAILED");
        let row = Row::of(&case(None), &results);
        assert_eq!((row.verdict, row.reason.as_str()), (Verdict::Fail, "b::lc_001_y"));
    }

    #[test]
    fn a_skipped_test_says_why() {
        let results = read(
            "test lc_001_x ... ok\n\nsuccesses:\n\n---- lc_001_x stdout ----\nhere\nSKIPPED: no overlayfs\n\n\
             successes:\n    lc_001_x\n\ntest result: ok. 1 passed; 0 failed",
        );
        let row = Row::of(&case(None), &results);
        assert_eq!(
            (row.verdict, row.reason.as_str()),
            (Verdict::Skip, "no overlayfs")
        );
    }

    #[test]
    fn a_case_without_a_test_fails_unless_it_does_not_apply() {
        let none = Results::default();
        assert_eq!(Row::of(&case(None), &none).verdict, Verdict::Fail);
        let row = Row::of(&case(Some("no node")), &none);
        assert_eq!(
            (row.verdict, row.reason.as_str()),
            (Verdict::NotApplicable, "no node")
        );
        assert!(table(&[row]).contains("| LC-001 | n/a | a \\| b | no node |"));
    }

    #[test]
    fn a_test_of_no_case_is_noticed() {
        let results = read("test lc_999_x ... ok");
        assert_eq!(results.unknown(&[case(None)]), ["LC-999"]);
    }

    #[test]
    fn every_case_has_a_test_or_a_reason() {
        let mut sources = String::new();
        for place in ["init", "manifest-sync", "attest", "rootfs", "host-proxy", "tests"] {
            read_sources(&root().join(place), &mut sources);
        }
        let cases = cases().expect("the list of cases");
        assert!(cases.len() > 200, "{}", cases.len());
        let without: Vec<&str> = cases
            .iter()
            .filter(|case| case.not_applicable.is_none())
            .filter(|case| !sources.contains(&format!("{PREFIX}{}_", case.id.trim_start_matches("LC-"))))
            .map(|case| case.id.as_str())
            .collect();
        assert_eq!(without, [""; 0]);
    }

    /// All that is Rust below a directory.
    fn read_sources(directory: &std::path::Path, into: &mut String) {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                read_sources(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push_str(&std::fs::read_to_string(&path).expect("a source"));
            }
        }
    }
}
