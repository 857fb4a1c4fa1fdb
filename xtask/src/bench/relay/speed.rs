//! B1, B2, B3: one stream of bytes each way, and what the relays' CPU time is for it. B6: short connections. B7: what a
//! relay adds to a round trip.

use anyhow::Result;
use serde_json::json;

use super::super::output::Output;
use super::super::plot::{Plot, number};
use super::super::spread;
use super::super::verdict::{Limit, verdict};
use super::Effort;
use super::runs::Runs;
use super::setup::{Case, Setup};

/// How many times as many rounds as others one stream has: which threads share a CPU moves it by a factor of 1.5.
const BULK_ROUNDS: usize = 3;

pub(super) fn bulk(setup: &Setup, mut effort: Effort, output: &mut Output) -> Result<()> {
    effort.rounds *= BULK_ROUNDS;
    let mut cpu_text = String::new();
    let (mut cpu_bars, mut cpu_verdicts) = (Vec::new(), String::new());
    for (name, way, title, arrow) in [
        (
            "bulk-in",
            "in",
            "One stream, from a client to the server",
            ", to the server",
        ),
        (
            "bulk-out",
            "out",
            "One stream, from the server to a client",
            ", from the server",
        ),
    ] {
        let words = |case: &Case| {
            let mut words = vec!["bulk".to_owned(), way.to_owned(), case.port.to_string()];
            words.push(effort.window.to_string());
            words.extend(case.processes.iter().cloned());
            words
        };
        let runs = Runs::take(setup, effort, |_| true, words)?;
        let speed = runs.samples("gigabytesPerSecond");
        let plot = Plot {
            title,
            unit: "GB/s (10⁹ bytes a second)",
            bars: speed.bars(""),
            target: None,
        };
        plot.keep(name, output, &json!({"milliseconds": effort.window}));
        let verdicts = [
            verdict(
                "one relay, of the bare splice relay,",
                &Limit::AtLeast(0.9),
                &speed.against(1, "bare splice"),
            ),
            verdict(
                "one relay, of socat,",
                &Limit::AtLeast(2.5),
                &speed.against(1, "socat"),
            ),
            verdict(
                "the whole path, of two bare splice relays,",
                &Limit::AtLeast(0.9),
                &speed.against(2, "bare splice"),
            ),
            verdict(
                "the whole path, of two socats,",
                &Limit::AtLeast(2.5),
                &speed.against(2, "socat"),
            ),
        ];
        output.block(name, format!("{}\n{}", speed.table("GB/s"), verdicts.concat()));
        let mut cpu = runs.samples("cpuPerGigabyte");
        cpu.0.retain(|(case, _)| case.hops > 0);
        cpu_text += &format!("{}\n", cpu.table(&format!("CPU s per GB{arrow}")));
        cpu_verdicts += &verdict(
            &format!("one relay{arrow}, of tokio's default,"),
            &Limit::AtMost(0.35),
            &cpu.against(1, "tokio copy_bidirectional"),
        );
        cpu_bars.extend(cpu.bars(arrow));
    }
    let plot = Plot {
        title: "CPU time of the relays for one stream",
        unit: "CPU seconds per GB (10⁹ bytes), all relays of the path together",
        bars: cpu_bars,
        target: None,
    };
    plot.keep("relay-cpu", output, &json!({"milliseconds": effort.window}));
    output.block("relay-cpu", cpu_text + &cpu_verdicts);
    Ok(())
}

pub(super) fn connections(setup: &Setup, effort: Effort, output: &mut Output) -> Result<()> {
    let (mut text, mut verdicts) = (String::new(), String::new());
    let (mut bars, mut facts) = (Vec::new(), Vec::new());
    for clients in [8, 64] {
        let words = |case: &Case| {
            let numbers = [
                clients.to_string(),
                case.port.to_string(),
                effort.window.to_string(),
            ];
            std::iter::once("connections".to_owned()).chain(numbers).collect()
        };
        let runs = Runs::take(setup, effort, |_| true, words)?;
        let rate = runs.samples("perSecond");
        text += &format!(
            "{}\n",
            rate.table(&format!("connections a second, {clients} clients"))
        );
        for (hops, name) in [(1, "one relay"), (2, "the whole path")] {
            let what = format!("{name}, {clients} clients, of socat,");
            verdicts += &verdict(&what, &Limit::AtLeast(4.0), &rate.against(hops, "socat"));
        }
        bars.extend(rate.bars(&format!(", {clients} clients")));
        for (case, failed) in runs.samples("failed").0 {
            let failed: f64 = failed.iter().sum();
            facts.push(json!({"label": case.label(), "clients": clients, "failed": failed}));
            if case.is_ours {
                verdicts += &verdict(
                    &format!("{}, {clients} clients, connections that failed", case.label()),
                    &Limit::AtMost(0.0),
                    &[failed],
                );
            }
        }
    }
    let plot = Plot {
        title: "Connections that carry one byte each way",
        unit: "connections a second",
        bars,
        target: None,
    };
    plot.keep(
        "connections",
        output,
        &json!({"milliseconds": effort.window, "failures": facts}),
    );
    output.block("connections", format!("{text}{verdicts}"));
    Ok(())
}

pub(super) fn latency(setup: &Setup, effort: Effort, output: &mut Output) -> Result<()> {
    // Enough for the 99.9th percentile of what takes 40 µs.
    let window = effort.window / 2;
    let take = |size: usize, beside: &str| {
        let words = |case: &Case| {
            let size = size.to_string();
            let (port, window) = (case.port.to_string(), window.to_string());
            ["ping", &size, beside, &port, &window]
                .map(str::to_owned)
                .to_vec()
        };
        Runs::take(setup, effort, |_| true, words)
    };
    let (idle, large, busy) = (take(1, "idle")?, take(8192, "idle")?, take(1, "busy")?);
    let columns = [
        idle.samples("p50"),
        idle.samples("p99"),
        idle.samples("p999"),
        large.samples("p50"),
        busy.samples("p50"),
        busy.samples("p99"),
    ];
    let mut text = "| between client and server | 1 byte, p50, µs | p99 | p99.9 | 8 KiB, p50 | 1 byte beside a stream of bytes, \
                    p50 | p99 |\n|---|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for (index, case) in idle.cases.iter().enumerate() {
        let cells = columns.iter().filter_map(|column| column.0.get(index));
        let cells: Vec<String> = cells.map(|(_, samples)| spread(samples, number)).collect();
        text += &format!("| {} | {} |\n", case.label(), cells.join(" | "));
    }
    let [p50, ..] = &columns;
    let added = [(1, "one relay"), (2, "the whole path")].map(|(hops, name)| {
        let what = format!("{name}, p50 of 1 byte above no relay, µs for each of its relays,");
        verdict(&what, &Limit::AtMost(40.0), &p50.added(hops))
    });
    let plot = Plot {
        title: "Round trip of one byte on a connection that stays",
        unit: "µs, median of a run",
        bars: p50.bars(""),
        target: None,
    };
    plot.keep("latency", output, &json!({"milliseconds": window}));
    output.block("latency", format!("{text}\n{}", added.concat()));
    Ok(())
}
