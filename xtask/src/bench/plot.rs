//! One plot for each benchmark: bars of medians with their spread, as SVG by hand; and the samples as JSON beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::median;
use crate::system::root;

/// Height of a bar with the space around it, pixels.
const ROW: usize = 34;
/// Where bars begin and end.
const LEFT: f64 = 330.0;
const RIGHT: f64 = 760.0;

/// What is shown.
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// Of the samples.
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
    /// Keeps `NAME.json` and `NAME.svg`, in the documentation when `in_docs`, else below `target`.
    pub(super) fn keep(&self, name: &str, in_docs: bool, facts: &Value) -> Result<()> {
        let directory = root().join(if in_docs {
            "docs/performance"
        } else {
            "target/bench"
        });
        fs::create_dir_all(&directory)?;
        write(&directory.join(format!("{name}.svg")), &self.svg())?;
        let bars: Vec<Value> = self
            .bars
            .iter()
            .map(|bar| json!({"label": bar.label, "peer": bar.is_peer, "samples": bar.samples}))
            .collect();
        let all = json!({"title": self.title, "unit": self.unit, "target": self.target, "machine": machine(),
            "facts": facts, "bars": bars});
        write(&directory.join(format!("{name}.json")), &format!("{all:#}\n"))
    }

    fn svg(&self) -> String {
        let height = 70 + ROW * self.bars.len();
        let most = self.bars.iter().flat_map(|bar| &bar.samples).copied();
        let most = most.chain(self.target).fold(f64::MIN_POSITIVE, f64::max) * 1.05;
        let x = |value: f64| LEFT + (RIGHT - LEFT) * value / most;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"{height}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"10\" y=\"24\" font-size=\"16\">{}</text>\n",
            escape(&format!("{} ({})", self.title, self.unit))
        );
        for (index, bar) in self.bars.iter().enumerate() {
            let y = 44 + ROW * index;
            let middle = median(bar.samples.clone());
            let (low, high) = (
                bar.samples.iter().copied().fold(f64::INFINITY, f64::min),
                bar.samples.iter().copied().fold(0.0, f64::max),
            );
            let colour = if bar.is_peer { "#b0b0b0" } else { "#3b6ea5" };
            let (center, text) = (y + 10, y + 15);
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"20\" fill=\"{colour}\"/>\n\
                 <path d=\"M{:.1} {center}H{:.1}\" stroke=\"black\"/>\n\
                 <text x=\"{:.1}\" y=\"{text}\">{}</text>",
                LEFT - 8.0,
                escape(&bar.label),
                x(middle) - LEFT,
                x(low),
                x(high),
                x(high) + 6.0,
                number(middle)
            );
        }
        if let Some(target) = self.target {
            let bottom = height - 22;
            let _ = writeln!(
                svg,
                "<path d=\"M{0:.1} 36V{bottom}\" stroke=\"#a03030\" stroke-dasharray=\"4\"/>\n\
                 <text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\" fill=\"#a03030\">target {2}</text>",
                x(target),
                height - 8,
                number(target)
            );
        }
        svg + "</svg>\n"
    }
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

fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    println!("written to {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_bar_for_each_and_the_target() {
        let bar = |label: &str, is_peer, samples: &[f64]| Bar {
            label: label.to_owned(),
            is_peer,
            samples: samples.to_vec(),
        };
        let plot = Plot {
            title: "a < b",
            unit: "MB",
            bars: vec![bar("ours", false, &[1.0, 2.0, 3.0]), bar("theirs", true, &[10.0])],
            target: Some(5.0),
        };
        let svg = plot.svg();
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(
            svg.contains("a &lt; b (MB)") && svg.contains(">2.0<") && svg.contains("target 5.0"),
            "{svg}"
        );
    }
}
