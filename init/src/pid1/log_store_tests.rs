use attest::sealed_log::{Opener, PrivateKey};
use manifest_sync::log_record::Decoder;

use super::super::log_ring::TAIL_LINES;
use super::*;

const KEY: [u8; 32] = [9; 32];

fn push(store: &mut LogStore, container: &str, attempt: u32, text: &str) {
    let (ring, _) = store.ring(container);
    store.push(&Piece {
        ring,
        time_ns: 1,
        attempt,
        stream: LogStream::Stdout,
        partial: false,
        records: u32::try_from(text.split('\n').count()).expect("few"),
        text: text.as_bytes(),
    });
}

fn entries(store: &mut LogStore, after: u64, container: Option<&str>) -> Vec<Entry> {
    let mut bytes = Vec::new();
    store.read_after(after, container, usize::MAX, &mut bytes);
    let mut decoder = Decoder::new();
    decoder.push(&bytes);
    std::iter::from_fn(|| decoder.next_entry().expect("well-formed")).collect()
}

fn texts(entries: &[Entry]) -> Vec<String> {
    let text = |entry: &Entry| match entry {
        Entry::Run(run) => {
            let lines = run.as_ref().records();
            lines
                .map(|record| String::from_utf8_lossy(record.line).into_owned())
                .collect()
        }
        Entry::Dropped(dropped) => {
            let name = dropped.container.as_deref().unwrap_or("somebody");
            vec![format!("{} of {name}", dropped.records)]
        }
    };
    entries.iter().flat_map(text).collect()
}

fn kept(store: &mut LogStore, after: u64) -> u64 {
    let records = |entry: &Entry| match entry {
        Entry::Run(run) => u64::from(run.records),
        Entry::Dropped(_) => 0,
    };
    entries(store, after, None).iter().map(records).sum()
}

fn plan(containers: &[(&str, LogPolicy)]) -> LogPlan {
    LogPlan {
        default: None,
        containers: containers
            .iter()
            .map(|(name, policy)| ((*name).to_owned(), *policy))
            .collect(),
        seal_to: Some(PrivateKey::new(KEY).public()),
    }
}

#[test]
fn records_of_all_containers_come_in_the_order_they_were_written() {
    let mut store = LogStore::new(1 << 20, Clear::Leaves);
    for (container, text) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4"), ("b", "5")] {
        push(&mut store, container, 0, text);
    }
    assert_eq!(texts(&entries(&mut store, 0, None)), ["1", "2", "3", "4", "5"]);
    assert_eq!(texts(&entries(&mut store, 1, None)), ["2", "3", "4", "5"]);
    assert_eq!(texts(&entries(&mut store, 0, Some("a"))), ["1", "3", "4"]);
    assert_eq!(texts(&entries(&mut store, 5, None)), [""; 0]);
    // One batch after the other, each as short as can be.
    let (mut after, mut all) = (0, Vec::new());
    loop {
        let mut bytes = Vec::new();
        let next = store.read_after(after, None, 1, &mut bytes);
        if next == after {
            break;
        }
        assert_eq!(next, after + 1);
        (after, all) = (next, [all, bytes].concat());
    }
    let mut whole = Vec::new();
    store.read_after(0, None, usize::MAX, &mut whole);
    assert_eq!(all, whole);
}

#[test]
fn a_flood_drops_its_own_oldest_records_and_says_how_many() {
    let mut store = LogStore::new(4096, Clear::Leaves);
    push(&mut store, "quiet", 0, "kept");
    for number in 0..1000 {
        push(&mut store, "flood", 0, &format!("{number:04}"));
    }
    let entries = texts(&entries(&mut store, 0, None));
    assert_eq!(entries[0], "kept");
    let kept = entries.len() - 2;
    assert_eq!(entries[1], format!("{} of flood", 1000 - kept));
    assert_eq!(entries[entries.len() - 1], "0999");
    assert_eq!(store.dropped_bytes, 4 * (1000 - kept as u64));
    let counters = store.counters();
    let flood = &counters[1];
    assert_eq!((flood.records, flood.dropped_records), (1000, 1000 - kept as u64));
    assert!(flood.ring_bytes <= 4096);
}

#[test]
fn a_reader_goes_on_wherever_it_is_interrupted_and_never_back() {
    let full = || {
        let mut store = LogStore::new(2048, Clear::Leaves);
        for number in 0..300 {
            push(&mut store, "a", 0, &number.to_string());
            if number % 7 == 0 {
                push(&mut store, "b", 0, "x\ny");
            }
        }
        store
    };
    let whole = texts(&entries(&mut full(), 0, None));
    assert!(whole.len() > 50, "{whole:?}");
    // Also between a gap and what follows it.
    for most in 1..2500 {
        let (mut store, mut after, mut all) = (full(), 0, Vec::new());
        loop {
            let mut bytes = Vec::new();
            let next = store.read_after(after, None, most, &mut bytes);
            if next == after {
                break;
            }
            assert!(next > after, "{most}: from {after} back to {next}");
            after = next;
            all.extend(bytes);
        }
        let mut decoder = Decoder::new();
        decoder.push(&all);
        let all: Vec<_> = std::iter::from_fn(|| decoder.next_entry().expect("well-formed")).collect();
        assert_eq!(texts(&all), whole, "{most}");
    }
}

#[test]
fn what_was_read_together_is_given_and_dropped_together() {
    let mut store = LogStore::new(4096, Clear::Leaves);
    push(&mut store, "a", 0, "1\n2\n3");
    push(&mut store, "b", 0, "4");
    assert_eq!(texts(&entries(&mut store, 0, None)), ["1", "2", "3", "4"]);
    // A reader may have got only a part of a run into its files.
    assert_eq!(texts(&entries(&mut store, 2, None)), ["1", "2", "3", "4"]);
    assert_eq!(texts(&entries(&mut store, 3, None)), ["4"]);
    assert_eq!(store.taken_bytes, 4);
    let lines = "line\n".repeat(300);
    for _ in 0..10 {
        push(&mut store, "a", 0, lines.trim_end());
    }
    let told = texts(&entries(&mut store, 4, None));
    assert_eq!((told[0].as_str(), told.len()), ("2400 of a", 601));
    let counters = &store.counters()[0];
    assert_eq!((counters.records, counters.dropped_records), (3003, 2400));
    assert_eq!((counters.bytes, counters.dropped_bytes), (3 + 12_000, 4 * 2400));
}

#[test]
fn two_floods_are_counted_apart_and_from_what_was_read() {
    let mut store = LogStore::new(4096, Clear::Leaves);
    for number in 0..10 {
        push(&mut store, "a", 0, &number.to_string());
    }
    let mut read = Vec::new();
    let after = store.read_after(0, None, usize::MAX, &mut read);
    assert_eq!(after, 10);
    for number in 0..900 {
        push(&mut store, "a", 0, &number.to_string());
        push(&mut store, "b", 0, &number.to_string());
        push(&mut store, "b", 0, &number.to_string());
    }
    // What was read is not dropped, though it is gone.
    assert_eq!(
        store.counters()[0].dropped_records + store.counters()[1].dropped_records + kept(&mut store, after),
        2700
    );
    let mut counts = BTreeMap::<String, u64>::new();
    for entry in entries(&mut store, after, None) {
        let (name, count) = match entry {
            Entry::Run(run) => (run.container, u64::from(run.records)),
            Entry::Dropped(dropped) => (dropped.container.expect("it is known whose"), dropped.records),
        };
        *counts.entry(name.to_string()).or_default() += count;
    }
    assert_eq!(
        counts,
        BTreeMap::from([("a".to_owned(), 900), ("b".to_owned(), 1800)])
    );
}

#[test]
fn a_record_larger_than_the_ring_is_kept_until_the_next() {
    let mut store = LogStore::new(100, Clear::Leaves);
    push(&mut store, "a", 0, &"x".repeat(16 << 10));
    assert_eq!(entries(&mut store, 0, None).len(), 1);
    push(&mut store, "a", 0, "short");
    assert_eq!(texts(&entries(&mut store, 0, None)), ["1 of a", "short"]);
}

#[test]
fn the_tail_has_the_last_lines_of_one_instance_only() {
    let mut store = LogStore::new(1 << 20, Clear::Leaves);
    push(&mut store, "a", 0, "old");
    for number in 0..100 {
        push(&mut store, "a", 1, &format!("line {number}"));
    }
    let tail = store.tail("a", 1);
    assert_eq!(tail.lines().count(), TAIL_LINES);
    assert!(tail.ends_with("line 99\n"));
    assert_eq!(store.tail("a", 0), "");
    let mut store = LogStore::new(1 << 20, Clear::Leaves);
    push(&mut store, "a", 0, &"y".repeat(5000));
    assert_eq!(store.tail("a", 0).len(), 2048);
}

#[test]
fn what_must_not_leave_is_not_even_kept() {
    let mut store = LogStore::new(1 << 20, Clear::Stays);
    push(&mut store, "a", 0, "secret");
    assert!(entries(&mut store, 0, None).is_empty());
    assert_eq!(store.tail("a", 0), "");
    assert_eq!((store.taken_bytes, store.dropped_bytes), (6, 6));
    let mut store = LogStore::new(1 << 20, Clear::Leaves);
    let plan = plan(&[("a", LogPolicy::None)]);
    store.follow(&plan, ["a", "b"].into_iter()).expect("a plan");
    push(&mut store, "a", 0, "secret");
    push(&mut store, "b", 0, "told");
    assert_eq!(texts(&entries(&mut store, 0, None)), ["told"]);
    assert_eq!(store.tail("a", 0), "");
    assert!(store.is_clear("b") && !store.is_clear("a") && !store.is_all_clear());
    assert_eq!(store.counters()[0].withheld_records, 1);
}

#[test]
fn sealed_output_is_legible_to_the_back_end_alone() {
    for clear in [Clear::Leaves, Clear::Stays] {
        let mut store = LogStore::new(1 << 20, clear);
        store
            .follow(&plan(&[("a", LogPolicy::Sealed)]), ["a"].into_iter())
            .expect("a plan");
        let lines: Vec<String> = (0..500).map(|number| format!("marker {number}")).collect();
        for lines in lines.chunks(7) {
            push(&mut store, "a", 0, &lines.join("\n"));
        }
        store.close();
        assert_eq!(store.tail("a", 0), "");
        let mut opener = Opener::new(PrivateKey::new(KEY));
        let mut opened = Vec::new();
        for entry in entries(&mut store, 0, None) {
            let Entry::Run(run) = entry else {
                panic!("{entry:?}")
            };
            assert_eq!((run.stream, run.records), (LogStream::Sealed, 1));
            assert!(run.text.len() < 5250, "{}", run.text.len());
            assert!(memmem(&run.text, b"marker").is_none());
            let batch = opener.open(&run.text).expect("opened");
            assert_eq!((batch.container.as_str(), batch.findings.len()), ("a", 0));
            let mut decoder = Decoder::new();
            decoder.push(&batch.records);
            while let Some(entry) = decoder.next_entry().expect("records") {
                opened.push(entry);
            }
        }
        assert_eq!(texts(&opened), lines);
        assert!(opener.rest()[0].complete);
    }
}

#[test]
fn what_a_full_ring_drops_of_a_sealed_container_is_counted_in_lines() {
    let mut store = LogStore::new(20_000, Clear::Leaves);
    store
        .follow(&plan(&[("a", LogPolicy::Sealed)]), ["a"].into_iter())
        .expect("a plan");
    for number in 0..5000 {
        push(&mut store, "a", 0, &format!("{number:0100}"));
    }
    store.close();
    let mut opener = Opener::new(PrivateKey::new(KEY));
    let (mut lines, mut missing) = (0, 0);
    for entry in entries(&mut store, 0, None) {
        let Entry::Run(run) = entry else { continue };
        let batch = opener.open(&run.text).expect("opened");
        for finding in batch.findings {
            let attest::sealed_log::Finding::Missing {
                records,
                lost_in_enclave,
                ..
            } = finding
            else {
                panic!("{finding}")
            };
            missing += records;
            assert!(lost_in_enclave <= records);
        }
        lines += manifest_sync::log_record::runs(&batch.records)
            .map(|run| u64::from(run.records))
            .sum::<u64>();
    }
    assert_eq!(lines + missing, 5000);
    assert_eq!(store.counters()[0].dropped_records, missing);
}

fn memmem(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
