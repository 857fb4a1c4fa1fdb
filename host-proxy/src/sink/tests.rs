//! The spool and its readers: order, bounds, exact counts, torn and damaged files, several boots.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use manifest_sync::log_record::{Dropped, Entry, LogRun, LogStream};
use proptest::prelude::*;

use super::item::{Body, Cause, Item, Origin};
use super::reader::{Reader, Step};
use super::spool::Spool;

const LIMIT: u64 = 256 << 10;

pub(crate) fn origin(boot: &str) -> Arc<Origin> {
    Arc::new(Origin {
        boot: boot.repeat(32),
        namespace: "default".to_owned(),
        pod: "web".to_owned(),
        uid: "u".to_owned(),
    })
}

pub(crate) fn record(sequence: u64, container: &str, bytes: usize) -> Entry {
    run(sequence..sequence.saturating_add(1), container, bytes)
}

/// Records that were read together, each with the sequence of its place.
pub(crate) fn run(sequences: Range<u64>, container: &str, bytes: usize) -> Entry {
    let records = usize::try_from(sequences.end - sequences.start)
        .expect("few")
        .max(1);
    Entry::Run(LogRun {
        sequence: sequences.start,
        time_ns: 1,
        container: container.into(),
        attempt: 0,
        stream: LogStream::Stdout,
        partial: false,
        records: u32::try_from(records).expect("few"),
        text: vec!["x".repeat(bytes); records].join("\n").into(),
    })
}

/// Everything that there is to read: sequences, and notices as `(container, records)`.
fn read(reader: &mut Reader) -> (Vec<u64>, Vec<(Option<String>, u64)>) {
    let (mut sequences, mut notices) = (Vec::new(), Vec::new());
    loop {
        match reader.step() {
            Step::Items(_, items) => {
                for item in items {
                    match item.body {
                        Body::Run(run) => sequences.extend(run.sequence..=run.last_sequence()),
                        Body::Notice(notice) => notices.push((notice.container, notice.records)),
                    }
                }
            }
            Step::Empty | Step::Ended => return (sequences, notices),
        }
    }
}

fn reader(spool: &Arc<Spool>, position: u64) -> Reader {
    let number = spool.register(position);
    Reader::new(spool, number)
}

fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    paths.sort();
    paths
}

/// Appends `count` records of two containers in turn, one block for each ten.
fn fill(spool: &Spool, first: u64, count: u64, bytes: usize) {
    let all: Vec<Entry> = (first..first + count)
        .map(|sequence| record(sequence, if sequence % 2 == 0 { "even" } else { "odd" }, bytes))
        .collect();
    for (index, block) in all.chunks(10).enumerate() {
        spool.append(&origin("a"), first + index as u64 * 10, block.to_vec());
    }
}

/// The same in runs, one block for each.
fn fill_runs(spool: &Spool, first: u64, count: u64, bytes: usize) {
    let end = first + count;
    for start in (first..end).step_by(7) {
        let run = run(start..end.min(start + 7), "app", bytes);
        spool.append(&origin("a"), start, vec![run]);
    }
}

#[test]
fn a_full_spool_drops_the_oldest_and_counts_exactly() {
    let directory = tempfile::tempdir().expect("a directory");
    for spool in [
        Spool::memory(LIMIT),
        Spool::open(directory.path(), LIMIT).expect("opened"),
    ] {
        let spool = Arc::new(spool);
        let mut quick = reader(&spool, 1);
        let mut slow = reader(&spool, 1);
        let mut got = Vec::new();
        for round in 0..20 {
            fill(&spool, 1 + round * 500, 500, 100);
            let (sequences, notices) = read(&mut quick);
            got.extend(sequences);
            assert_eq!(notices, [], "who keeps up loses nothing");
        }
        assert_eq!(got, (1..=10_000).collect::<Vec<_>>());
        assert!(spool.counts().bytes <= LIMIT, "{:?}", spool.counts());

        let (sequences, notices) = read(&mut slow);
        let count = |name: &str| {
            let of = notices.iter().filter(|(of, _)| of.as_deref() == Some(name));
            of.map(|(_, records)| records).sum::<u64>()
        };
        let first = sequences[0];
        assert_eq!(sequences, (first..=10_000).collect::<Vec<_>>());
        assert_eq!((count("odd"), count("even")), (first / 2, (first - 1) / 2));
        assert_eq!(spool.state().sinks[1].lost_total, first - 1);
    }
}

#[test]
fn what_every_sink_has_is_removed_and_the_end_is_remembered() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Arc::new(Spool::open(directory.path(), LIMIT).expect("opened"));
    let mut one = reader(&spool, 1);
    fill(&spool, 1, 1000, 100);
    read(&mut one);
    spool.release(0, 1001);
    assert_eq!(segments(directory.path()).len(), 1);
    drop((one, spool));
    let spool = Arc::new(Spool::open(directory.path(), LIMIT).expect("opened"));
    assert_eq!(spool.last_sequence(&"a".repeat(32)), 1000);
    assert_eq!(spool.last_sequence(&"b".repeat(32)), 0);
    assert_eq!(spool.state().next, 1001);
}

#[test]
fn two_processes_never_share_a_spool() {
    let directory = tempfile::tempdir().expect("a directory");
    let _spool = Spool::open(directory.path(), LIMIT).expect("opened");
    let error = Spool::open(directory.path(), LIMIT).err().expect("refused");
    assert!(error.to_string().contains("another host-proxy"), "{error}");
}

#[test]
fn a_torn_tail_is_cut_off_counted_and_read_again_from_the_enclave() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Spool::open(directory.path(), LIMIT).expect("opened");
    fill(&spool, 1, 20, 100);
    drop(spool);
    let path = segments(directory.path()).pop().expect("a segment");
    let length = std::fs::metadata(&path).expect("metadata").len();
    let file = File::options().write(true).open(&path).expect("opened");
    file.set_len(length - 7).expect("cut");

    let spool = Arc::new(Spool::open(directory.path(), LIMIT).expect("opened"));
    assert!(spool.counts().torn > 1000, "{:?}", spool.counts());
    assert_eq!(spool.last_sequence(&"a".repeat(32)), 10);
    fill(&spool, 11, 20, 100);
    let mut all = reader(&spool, 1);
    assert_eq!(read(&mut all), ((1..=30).collect(), vec![]));
}

#[test]
fn damage_loses_a_counted_part_of_one_segment_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Arc::new(Spool::open(directory.path(), LIMIT).expect("opened"));
    let mut all = reader(&spool, 1);
    fill(&spool, 1, 1000, 100);
    let first = segments(directory.path()).remove(0);
    let file = File::options().write(true).open(first).expect("opened");
    file.write_all_at(&[0xff; 10], 5000).expect("written");
    let (sequences, notices) = read(&mut all);
    let lost: u64 = notices.iter().map(|(_, records)| records).sum();
    assert_eq!(sequences.len() as u64 + lost, 1000);
    assert!(lost > 0 && sequences.ends_with(&[999, 1000]), "{lost}");
    assert_eq!(spool.state().sinks[0].lost_total, lost);
}

#[test]
fn a_file_that_is_no_segment_is_set_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(
        directory.path().join("00000000000000000001.segment"),
        b"garbage of some length",
    )
    .expect("written");
    let spool = Spool::open(directory.path(), LIMIT).expect("opened");
    assert!(directory.path().join("00000000000000000001.damaged").exists());
    assert_eq!(spool.counts().torn, 22);
}

#[test]
fn a_cursor_ahead_of_the_spool_meets_nothing_twice_and_others_are_told() {
    // The machine lost its power: the spool's tail is gone, a sink's place is not.
    let spool = Arc::new(Spool::memory(LIMIT));
    let mut behind = reader(&spool, 1);
    let mut ahead = reader(&spool, 50);
    spool.append(&origin("b"), 1, vec![record(1, "app", 10)]);
    assert_eq!(read(&mut ahead), (vec![1], vec![]));
    assert_eq!(read(&mut behind), (vec![1], vec![(None, 49)]));
}

/// Nothing may follow what could not be written.
#[test]
fn what_has_no_room_at_the_end_is_told_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Arc::new(Spool::open(directory.path(), LIMIT).expect("opened"));
    let mut all = reader(&spool, 1);
    fill(&spool, 1, 10, 100);
    // As when there is no room: the file of the next segment cannot be made.
    let blocked = directory.path().join("00000000000000000011.segment");
    std::fs::create_dir(&blocked).expect("a directory");
    spool.append(&origin("b"), 1, vec![record(1, "app", 10), record(2, "app", 10)]);
    assert_eq!(read(&mut all), ((1..=10).collect(), vec![(None, 2)]));
    assert_eq!(spool.state().sinks[0].lost_total, 2);
    spool.append(&origin("b"), 3, vec![record(3, "app", 10)]);
    assert_eq!(read(&mut all), (vec![3], vec![]));
}

#[test]
fn a_run_is_given_from_and_up_to_any_place_in_it() {
    let spool = Arc::new(Spool::memory(LIMIT));
    spool.append(&origin("a"), 1, vec![run(1..11, "app", 3)]);
    let mut all = reader(&spool, 4);
    assert_eq!(read(&mut all), ((4..=10).collect(), vec![]));
    let places = |from, to| {
        let items = all.again(&origin("a"), from, to);
        items
            .iter()
            .map(|item| (item.index, item.next))
            .collect::<Vec<_>>()
    };
    assert_eq!((places(3, 8), places(1, 11)), (vec![(3, 8)], vec![(1, 11)]));
    assert_eq!((places(11, 12), places(10, 10)), (vec![], vec![]));
}

#[test]
fn a_gap_of_the_enclave_stays_a_gap_of_the_enclave() {
    let spool = Arc::new(Spool::memory(LIMIT));
    let mut all = reader(&spool, 1);
    let gap = Entry::Dropped(Dropped {
        first: 2,
        records: 5,
        container: Some("app".into()),
    });
    spool.append(
        &origin("a"),
        1,
        vec![record(1, "app", 1), gap, record(7, "app", 1)],
    );
    let Step::Items(_, items) = all.step() else {
        panic!("nothing")
    };
    assert_eq!(items.iter().map(|item| item.next).collect::<Vec<_>>(), [2, 7, 8]);
    assert!(
        matches!(&items[1].body, Body::Notice(notice) if notice.cause == Cause::Enclave && notice.container.as_deref() == Some("app"))
    );
    assert_eq!(spool.last_sequence(&"a".repeat(32)), 7);
    assert_eq!(
        all.again(&origin("a"), 7, 8)
            .iter()
            .map(|item: &Item| item.index)
            .collect::<Vec<_>>(),
        [7]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever is appended, read and restarted in whatever order: each record is read or counted, in order.
    #[test]
    fn nothing_is_read_twice_or_forgotten(steps in prop::collection::vec((0u8..4, 1u64..400, 0usize..2000), 1..40)) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut spool = Arc::new(Spool::open(directory.path(), LIMIT).expect("opened"));
        let mut one = reader(&spool, 1);
        let (mut next, mut read_up_to, mut accounted) = (1, 0, 0);
        for (kind, count, bytes) in steps {
            match kind {
                0 | 1 => {
                    let fill = if kind == 0 { fill } else { fill_runs };
                    fill(&spool, next, count, bytes);
                    next += count;
                }
                2 => {
                    let (sequences, notices) = read(&mut one);
                    for sequence in &sequences {
                        prop_assert!(*sequence > read_up_to);
                        read_up_to = *sequence;
                    }
                    accounted += sequences.len() as u64 + notices.iter().map(|(_, records)| records).sum::<u64>();
                    prop_assert_eq!(accounted, next - 1);
                    spool.release(0, next);
                }
                _ => {
                    drop((one, spool));
                    spool = Arc::new(Spool::open(directory.path(), LIMIT).expect("opened"));
                    prop_assert_eq!(spool.last_sequence(&"a".repeat(32)), next - 1);
                    // It had come further than it was seen to, and may have ended within a run.
                    accounted += (next - 1 - accounted) * (count % 4) / 4;
                    read_up_to = read_up_to.max(accounted);
                    one = reader(&spool, accounted + 1);
                }
            }
        }
    }
}
