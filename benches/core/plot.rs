//! The picture of the cost: three panels, each with the instructions a job against something that grows.

use std::fmt::Write as _;

use crate::cases::{drain, foreground, submit};

struct Panel {
    title: &'static str,
    /// What the points are called on the command line, before their value.
    name: &'static str,
    points: &'static [usize],
    run: fn(usize),
}

const PANELS: [Panel; 4] = [
    Panel {
        title: "submit, by jobs waiting",
        name: "submit-backlog-",
        points: &[1, 100, 10_000, 1_000_000],
        run: |backlog| submit(backlog, 1, false),
    },
    Panel {
        title: "drain, by jobs waiting",
        name: "drain-backlog-",
        points: &[1, 100, 10_000, 1_000_000],
        run: |backlog| drain(backlog, 1),
    },
    Panel {
        title: "submit, by functions",
        name: "submit-functions-",
        points: &[1, 10, 100, 1_000, 10_000],
        run: |functions| submit(0, functions, false),
    },
    Panel {
        title: "foreground, by workers asleep",
        name: "foreground-asleep-",
        points: &[1, 10, 100, 1_000, 10_000],
        run: foreground,
    },
];

/// One panel's width and height, and the height of all instructions in it.
const WIDTH: usize = 230;
const HEIGHT: usize = 230;
const CHART: f64 = 140.0;
const MOST: f64 = 8_000.0;

/// Runs the point with this name, if there is one.
pub(crate) fn run(name: &str) -> bool {
    for panel in PANELS {
        if let Some(point) = name.strip_prefix(panel.name)
            && let Ok(value) = point.parse()
        {
            (panel.run)(value);
            return true;
        }
    }
    false
}

/// An SVG that is readable on light and dark pages: no background, middle grey letters.
pub(crate) fn draw(count: impl Fn(&str) -> f64) -> String {
    let width = PANELS.len() * WIDTH;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\" \
         fill=\"#808080\" text-anchor=\"middle\">\n"
    );
    for (at, panel) in PANELS.iter().enumerate() {
        let left = at * WIDTH;
        let middle = left + WIDTH / 2;
        let base = HEIGHT - 40;
        let _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"16\" font-size=\"13\">{}</text>",
            panel.title
        );
        let _ = writeln!(
            svg,
            "<path d=\"M{} {base}h{}\" stroke=\"#808080\"/>",
            left + 10,
            WIDTH - 20
        );
        let step = (WIDTH - 20) / panel.points.len();
        for (bar, &point) in panel.points.iter().enumerate() {
            let instructions = count(&format!("{}{point}", panel.name));
            println!("{:<24} {point:>9} {instructions:>8.0}", panel.title);
            let x = left + 10 + bar * step + step / 2;
            let tall = instructions / MOST * CHART;
            let top = base as f64 - tall;
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{top:.1}\" width=\"26\" height=\"{tall:.1}\" fill=\"#3b82c4\"/>\
                 <text x=\"{x}\" y=\"{:.1}\">{instructions:.0}</text><text x=\"{x}\" y=\"{}\">{}</text>",
                x - 13,
                top - 5.0,
                base + 15,
                short(point)
            );
        }
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\">instructions a job in the pure core</text>\n</svg>",
        width / 2,
        HEIGHT - 6
    );
    svg
}

/// A thousand is 1k.
fn short(number: usize) -> String {
    match number {
        1_000_000.. => format!("{}M", number / 1_000_000),
        1_000.. => format!("{}k", number / 1_000),
        _ => number.to_string(),
    }
}
