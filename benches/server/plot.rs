//! What a submitted job costs against what a server already has: jobs that wait, connections, functions. One picture of all servers.

use std::fmt::Write as _;
use std::net::TcpStream;

use anyhow::{Context, Result};

use crate::contestant::{Contestant, Running};
use crate::load::{self, Uniques};

/// Jobs that are measured at each point.
const JOBS: usize = 20_000;

/// How often; the median is drawn.
const REPEATS: usize = 3;

struct Panel {
    title: &'static str,
    points: &'static [usize],
    /// Brings a server there.
    prepare: fn(&Running, usize) -> Result<Vec<TcpStream>>,
    /// How many functions the measured jobs are for.
    functions: fn(usize) -> usize,
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "by jobs waiting",
        points: &[0, 1_000, 30_000, 1_000_000],
        prepare: |server, backlog| {
            if backlog > 0 {
                load::submit(server, backlog, Uniques::Empty)?;
            }
            Ok(Vec::new())
        },
        functions: |_| 1,
    },
    Panel {
        title: "by idle connections",
        points: &[0, 100, 300, 1_000],
        prepare: |server, connections| {
            let all = (0..connections).map(|_| TcpStream::connect(server.address()));
            Ok(all.collect::<Result<_, _>>()?)
        },
        functions: |_| 1,
    },
    Panel {
        title: "by functions",
        points: &[1, 10, 100, 1_000],
        prepare: |_, _| Ok(Vec::new()),
        functions: |functions| functions,
    },
];

/// A panel's width and height, and the height of the most in it.
const WIDTH: usize = 300;
const HEIGHT: usize = 250;
const CHART: f64 = 150.0;

/// Measures and draws: an SVG that is readable on light and dark pages.
pub(crate) fn draw(servers: &[Contestant]) -> Result<String> {
    let mut measured = Vec::new();
    for panel in &PANELS {
        let mut lines = Vec::new();
        for &server in servers {
            let mut costs = Vec::new();
            for &point in panel.points {
                let cost = cost(panel, server, point)
                    .with_context(|| format!("{server}, {} {point}", panel.title))?;
                println!("{server:<10} {:<20} {point:>9} {cost:>8.2} µs", panel.title);
                costs.push(cost);
            }
            lines.push((server, costs));
        }
        measured.push(lines);
    }
    Ok(picture(&measured))
}

/// The server's CPU a job, in microseconds.
fn cost(panel: &Panel, server: Contestant, point: usize) -> Result<f64> {
    let mut costs = Vec::new();
    for _ in 0..REPEATS {
        let running = Running::start(server, &[])?;
        let held = (panel.prepare)(&running, point)?;
        let functions = (panel.functions)(point);
        let sample = load::submit_to(&running, JOBS, Uniques::Empty, functions)?;
        costs.push(sample.server.as_secs_f64() * 1e6 / sample.jobs as f64);
        drop(held);
        running.stop()?;
    }
    costs.sort_by(f64::total_cmp);
    Ok(costs[REPEATS / 2])
}

fn picture(measured: &[Vec<(Contestant, Vec<f64>)>]) -> String {
    let all = measured.iter().flatten().flat_map(|(_, costs)| costs);
    let most = all.copied().fold(0.0, f64::max);
    let (width, base) = (PANELS.len() * WIDTH, HEIGHT - 50);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\" \
         fill=\"#808080\" text-anchor=\"middle\">\n"
    );
    for (at, (panel, lines)) in PANELS.iter().zip(measured).enumerate() {
        let left = at * WIDTH;
        let x = |point: usize| left + 40 + point * (WIDTH - 80) / (panel.points.len() - 1);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"16\" font-size=\"13\">{}</text>\n<path d=\"M{} {base}h{}\" stroke=\"#808080\"/>",
            left + WIDTH / 2,
            panel.title,
            left + 10,
            WIDTH - 20
        );
        for (place, &point) in panel.points.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\">{point}</text>",
                x(place),
                base + 15
            );
        }
        for (server, costs) in lines {
            let colour = colour(*server);
            let y = |cost: f64| base as f64 - cost / most * CHART;
            let path: Vec<_> = costs
                .iter()
                .enumerate()
                .map(|(place, &cost)| format!("{} {:.1}", x(place), y(cost)))
                .collect();
            let _ = writeln!(
                svg,
                "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join("L")
            );
            for (place, &cost) in costs.iter().enumerate() {
                let _ = writeln!(
                    svg,
                    "<text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\">{cost:.2}</text>",
                    x(place),
                    y(cost) - 5.0
                );
            }
        }
    }
    let names = measured.first().into_iter().flatten().enumerate();
    for (at, (server, _)) in names {
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" fill=\"{}\">{server}</text>",
            width / 2 - 300 + at * 80,
            HEIGHT - 8,
            colour(*server)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\">µs of the server's CPU for a submitted job</text>\n</svg>",
        width / 2 + 120,
        HEIGHT - 8
    );
    svg
}

fn colour(server: Contestant) -> &'static str {
    match server {
        Contestant::Gearmand => "#d97706",
        Contestant::Gearpool => "#3b82c4",
        Contestant::Floor => "#808080",
    }
}
