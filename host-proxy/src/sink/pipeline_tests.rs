//! What a hostile or a restarted enclave sends: each record and each gap is taken once.

use super::super::spec::Spec;
use super::super::tests::{origin, record, run};
use super::*;

fn start(state: &Path, spool: Option<PathBuf>) -> (Pipeline, Counts) {
    let sink = format!("file:{}", state.join("pods").display());
    let options = LogOptions {
        sinks: vec![Spec::parse(&sink).expect("a sink")],
        spool,
        spool_bytes: 1 << 20,
    };
    let counts = Counts::default();
    let pipeline = Pipeline::start(&options, state, &counts).expect("started");
    (pipeline, counts)
}

fn lines(state: &Path) -> usize {
    let text = std::fs::read_to_string(state.join("pods/default_web_u/app/0.log")).unwrap_or_default();
    text.lines().count()
}

fn gap(first: u64, records: u64) -> Entry {
    Entry::Dropped(Dropped {
        first,
        records,
        container: None,
    })
}

#[tokio::test]
async fn records_that_come_again_or_not_at_all_are_counted_once() {
    let state = tempfile::tempdir().expect("a directory");
    let (mut pipeline, counts) = start(state.path(), None);
    let boot = origin("a");
    let sent = |sequences: &[u64]| {
        sequences
            .iter()
            .map(|sequence| record(*sequence, "app", 1))
            .collect()
    };
    pipeline.push(&boot, vec![run(1..4, "app", 1)]).await;
    pipeline.push(&boot, sent(&[2, 3, 1])).await;
    pipeline.push(&boot, vec![run(2..5, "app", 1)]).await;
    // Nobody mentions 5 to 7; 8 to 10 are mentioned twice, once together with what came.
    pipeline.push(&boot, sent(&[8])).await;
    pipeline.push(&boot, vec![gap(2, 9), gap(8, 3)]).await;
    pipeline.push(&boot, sent(&[11])).await;
    assert_eq!(pipeline.resume(&boot.boot), 11);
    pipeline.finish(Duration::from_secs(60)).await;
    let counted = counts.read();
    assert_eq!(counted.received[0].records, 6);
    assert_eq!(counted.enclave_dropped[""], 3 + 2);
    assert_eq!(counted.sinks[0].sent, 6);
    assert_eq!(lines(state.path()), 6);
}

#[tokio::test]
async fn numbers_that_overflow_harm_nobody() {
    let state = tempfile::tempdir().expect("a directory");
    let (mut pipeline, counts) = start(state.path(), Some(state.path().join("spool")));
    let boot = origin("a");
    pipeline
        .push(&boot, vec![gap(1, u64::MAX), gap(u64::MAX, u64::MAX)])
        .await;
    pipeline
        .push(&boot, vec![record(u64::MAX, "app", 1), record(1, "app", 1)])
        .await;
    pipeline.finish(Duration::from_secs(60)).await;
    assert!(counts.read().enclave_dropped[""] > 1 << 60);
    // The very last number that there is.
    assert_eq!(lines(state.path()), 1);
}

#[tokio::test]
async fn a_process_goes_on_where_the_one_before_it_ended_with_and_without_files() {
    for on_disk in [true, false] {
        let state = tempfile::tempdir().expect("a directory");
        let spool = on_disk.then(|| state.path().join("spool"));
        let boot = origin("a");
        let all = |up_to: u64| {
            let runs = (1..=up_to).step_by(15);
            runs.map(|first| run(first..(first + 15).min(up_to + 1), "app", 10))
                .collect()
        };
        for (known, up_to) in [(0, 40), (40, 40), (40, 100)] {
            let (mut pipeline, _) = start(state.path(), spool.clone());
            assert_eq!(pipeline.resume(&boot.boot), known);
            // The enclave sends everything that it still has.
            pipeline.push(&boot, all(up_to)).await;
            pipeline.finish(Duration::from_secs(60)).await;
            // The lock of the spool goes with the last thread.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(lines(state.path()), 100, "on disk: {on_disk}");
        // Another enclave begins anew.
        let (mut pipeline, _) = start(state.path(), spool.clone());
        assert_eq!(pipeline.resume(&origin("b").boot), 0);
        pipeline.push(&origin("b"), vec![record(1, "app", 10)]).await;
        pipeline.finish(Duration::from_secs(60)).await;
        assert_eq!(lines(state.path()), 101, "on disk: {on_disk}");
    }
}
