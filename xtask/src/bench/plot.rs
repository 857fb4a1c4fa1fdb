//! One plot for each benchmark: bars of medians with their spread, as SVG by hand; and the samples as JSON beside it.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use super::output::Output;
use super::percentile;

/// Height of a bar with the space around it, pixels.
const ROW: usize = 30;
/// Of a bar.
const BAR: usize = 18;
/// Above the first bar, and below the last one: axis, its numbers and its name.
const TOP: usize = 44;
const BOTTOM: usize = 62;
/// Where bars begin and end.
const LEFT: f64 = 330.0;
const RIGHT: f64 = 770.0;

/// What is shown.
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// Of the samples: what the axis says.
    pub(super) unit: &'static str,
    pub(super) bars: Vec<Bar>,
    /// A line across all bars.
    pub(super) target: Option<f64>,
}

/// One bar.
pub(super) struct Bar {
    pub(super) label: String,
    /// Whether it is somebody else's.
    pub(super) is_peer: bool,
    pub(super) samples: Vec<f64>,
}

impl Plot {
    /// Leaves `NAME.json` and `NAME.svg`.
    pub(super) fn keep(&self, name: &str, output: &mut Output, facts: &Value) {
        output.file(format!("{name}.svg"), self.svg());
        let bars: Vec<Value> = self
            .bars
            .iter()
            .map(|bar| json!({"label": bar.label, "peer": bar.is_peer, "samples": bar.samples}))
            .collect();
        let all = json!({"title": self.title, "unit": self.unit, "target": self.target, "machine": machine(),
            "facts": facts, "bars": bars});
        output.file(format!("{name}.json"), format!("{all:#}\n"));
    }

    fn svg(&self) -> String {
        let axis = TOP + ROW * self.bars.len();
        let height = axis + BOTTOM;
        let ends = self.bars.iter().map(|bar| percentile(&bar.samples, 90));
        let most = ends.chain(self.target).filter(|end| end.is_finite());
        let most = most.fold(f64::MIN_POSITIVE, f64::max) * 1.05;
        let x = |value: f64| LEFT + (RIGHT - LEFT) * value / most;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"{height}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"10\" y=\"24\" font-size=\"16\">{}</text>\n\
             <path d=\"M{LEFT} {axis}H{RIGHT}\" stroke=\"black\"/>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            escape(self.title),
            f64::midpoint(LEFT, RIGHT),
            axis + 38,
            escape(self.unit)
        );
        for tick in ticks(most) {
            let _ = writeln!(
                svg,
                "<path d=\"M{0:.1} {TOP}V{1}\" stroke=\"#e4e4e4\"/>\n<text x=\"{0:.1}\" y=\"{2}\" text-anchor=\"middle\" \
                 font-size=\"11\">{3}</text>",
                x(tick),
                axis + 4,
                axis + 18,
                short(tick)
            );
        }
        for (index, bar) in self.bars.iter().enumerate() {
            let y = TOP + ROW * index + (ROW - BAR) / 2;
            let [low, middle, high] = [10, 50, 90].map(|percent| percentile(&bar.samples, percent));
            if !middle.is_finite() {
                continue;
            }
            let colour = if bar.is_peer { "#b0b0b0" } else { "#3b6ea5" };
            let (center, text) = (y + BAR / 2, y + BAR / 2 + 5);
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
                 <path d=\"M{:.1} {center}H{:.1}\" stroke=\"black\"/>\n\
                 <text x=\"{:.1}\" y=\"{text}\">{}</text>",
                LEFT - 8.0,
                escape(&bar.label),
                x(middle) - LEFT,
                x(low),
                x(high),
                x(high.max(middle)) + 6.0,
                number(middle)
            );
        }
        if let Some(target) = self.target {
            let _ = writeln!(
                svg,
                "<path d=\"M{0:.1} {TOP}V{axis}\" stroke=\"#a03030\" stroke-dasharray=\"4\"/>\n\
                 <text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\" fill=\"#a03030\">target {2}</text>",
                x(target),
                axis + 56,
                short(target)
            );
        }
        svg + "</svg>\n"
    }
}

/// Four to ten round numbers up to `most`.
fn ticks(most: f64) -> Vec<f64> {
    let mut step = 10_f64.powf(most.log10().floor());
    for smaller in [0.5, 0.4, 0.5] {
        if most / step < 4.0 {
            step *= smaller;
        }
    }
    let all = (0..=10).map(|index| f64::from(index) * step);
    all.take_while(|tick| *tick <= most).collect()
}

/// What a reader has to know of where it was measured.
fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cpu": model.map(|(_, model)| model),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "load": read("/proc/loadavg"),
    })
}

/// Three digits, whatever its size.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Without digits that say nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_bar_for_each_an_axis_and_the_target() {
        let bar = |label: &str, is_peer, samples: &[f64]| Bar {
            label: label.to_owned(),
            is_peer,
            samples: samples.to_vec(),
        };
        let plot = Plot {
            title: "a < b",
            unit: "MB",
            bars: vec![
                bar("ours", false, &[1.0, 2.0, 3.0]),
                bar("theirs", true, &[10.0]),
                bar("absent", true, &[]),
            ],
            target: Some(5.0),
        };
        let svg = plot.svg();
        assert_eq!(svg.matches("<rect").count(), 3);
        for part in ["a &lt; b", ">MB<", ">2.00<", ">target 5<", ">8<"] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(10.5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.42), [0.0, 0.1, 0.2, 0.30000000000000004, 0.4]);
    }
}
