//! The kubelet's layout, rotation, and files that are taken up again wherever a process was killed.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::super::tests::{origin, run};
use super::*;
use crate::sink::item::{Cause, Item, Notice};

fn options(directory: &Path, max_bytes: u64) -> Files {
    Files {
        directory: directory.join("pods"),
        max_bytes,
        max_files: 3,
    }
}

fn batch(sequences: std::ops::Range<u64>, bytes: usize) -> Batch {
    let item = Item::new(sequences.start, run(sequences, "app", bytes));
    Batch {
        origin: Arc::clone(&origin("a")),
        items: vec![item],
    }
}

fn directory(of: &Path) -> PathBuf {
    of.join("pods/default_web_u/app")
}

#[test]
fn wherever_a_process_is_killed_the_next_one_goes_on_there() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (path, note) = (scratch.path(), scratch.path().join("file.files"));
    let mut files = FilesOutput::new(options(path, 1 << 20), note.clone());
    files.deliver(&batch(1..4, 20)).expect("written");
    let noted = std::fs::read(&note).expect("a note");
    let log = directory(path).join("0.log");
    let first = std::fs::metadata(&log).expect("a file").len();
    files.deliver(&batch(4..8, 20)).expect("written");
    let whole = std::fs::read(&log).expect("a file");
    assert_eq!(whole.iter().filter(|byte| **byte == b'\n').count(), 7);

    // Killed after any byte of the second batch, before it was noted.
    for length in first..=whole.len() as u64 {
        std::fs::write(&note, &noted).expect("the old note");
        let file = File::options().write(true).open(&log).expect("the file");
        file.set_len(length).expect("cut");
        let mut files = FilesOutput::new(options(path, 1 << 20), note.clone());
        let mark = files.mark().expect("a note");
        assert_eq!((mark.accepted, mark.sequence), (4, 3));
        files.start(4);
        // Batches need not be the same as before.
        files.deliver(&batch(4..5, 20)).expect("written");
        files.deliver(&batch(5..8, 20)).expect("written");
        assert_eq!(std::fs::read(&log).expect("a file"), whole, "killed at {length}");
    }
}

#[test]
fn what_somebody_else_wrote_stays() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path();
    std::fs::create_dir_all(directory(path)).expect("a directory");
    let log = directory(path).join("0.log");
    std::fs::write(&log, b"something else").expect("written");
    let mut files = FilesOutput::new(options(path, 1 << 20), path.join("file.files"));
    files.deliver(&batch(1..2, 3)).expect("written");
    assert_eq!(
        std::fs::read_to_string(&log).expect("a file"),
        "something else\n1970-01-01T00:00:00.000000001Z stdout F xxx\n"
    );
}

#[test]
fn files_are_rotated_and_the_oldest_removed() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path();
    let mut files = FilesOutput::new(options(path, 1000), path.join("file.files"));
    files.deliver(&batch(1..101, 100)).expect("written");
    let mut names: Vec<String> = std::fs::read_dir(directory(path))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(names[0], "0.log");
    // 0.log.20260101-000000
    assert_eq!((names[1].len(), &names[1][..6]), (21, "0.log."), "{names:?}");
    for name in names {
        let length = std::fs::metadata(directory(path).join(name))
            .expect("a file")
            .len();
        assert!((100..=1000).contains(&length), "{length}");
    }
}

#[test]
fn instances_have_files_of_their_own_and_two_of_them_are_kept() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path();
    let mut files = FilesOutput::new(options(path, 1 << 20), path.join("file.files"));
    for attempt in 0..4 {
        let mut batch = batch(1 + u64::from(attempt)..2 + u64::from(attempt), 3);
        if let Body::Run(run) = &mut batch.items[0].body {
            run.attempt = attempt;
        }
        files.deliver(&batch).expect("written");
    }
    let exists = |attempt: u32| directory(path).join(format!("{attempt}.log")).exists();
    assert_eq!([0, 1, 2, 3].map(exists), [false, false, true, true]);
}

#[test]
fn notices_are_in_the_file_of_their_container() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path();
    let mut files = FilesOutput::new(options(path, 1 << 20), path.join("file.files"));
    let mut batch = batch(1..2, 3);
    batch.items = [Some("app".to_owned()), None]
        .map(|container| Item {
            index: 1,
            next: 2,
            resent: false,
            body: Body::Notice(Notice {
                container,
                records: 7,
                cause: Cause::Spool,
                time_ns: 0,
            }),
        })
        .into();
    files.deliver(&batch).expect("written");
    let text = std::fs::read_to_string(directory(path).join("0.log")).expect("a file");
    assert!(
        text.ends_with("stderr F -- 7 records of container app were dropped: the log spool was full --\n"),
        "{text}"
    );
    assert!(path.join("pods/default_web_u/cloister/0.log").exists());
}
