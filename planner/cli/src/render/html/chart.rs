//! Cost and bound over the search: two steps that meet.
//!
//! The picture is an SVG stretched to its box; its labels are HTML, placed in per cent, so that they keep their size on a
//! phone.

use super::bars::percent;
use crate::render::Subject;
use crate::render::figures;
use serde::Serialize;
use stowage_models::plan::Progress;
use stowage_models::units::UsdMicros;

/// A label on an axis, placed in per cent.
#[derive(Debug, Serialize)]
struct Tick {
    at: String,
    text: String,
    class: &'static str,
}

/// The chart.
#[derive(Debug, Serialize)]
pub(super) struct Chart {
    caption: String,
    description: String,
    cost: String,
    bound: String,
    between: String,
    cost_end: String,
    bound_end: String,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
}

/// A point: place on the x axis in thousandths, and what was known there.
struct Point {
    x: i64,
    cost: UsdMicros,
    bound: UsdMicros,
}

/// Width and height of the SVG's own coordinates.
const WIDTH: i64 = 1000;
const HEIGHT: i64 = 100;

/// Bounds start at nothing and first costs may be wild: the axis shows what is within this share of the end, the rest
/// is cut at the edge. 15 % either way keeps a gap of 1 % visible.
const AXIS_SPAN_MAX_PER_CENT: i64 = 15;

impl Chart {
    /// From the run's timeline if there is one, else from the plan's stages. `None` if nothing moved.
    pub(super) fn new(subject: &Subject<'_>) -> Option<Chart> {
        let from_time = subject.report.and_then(|report| timed(report, &subject.plan.summary));
        let (points, x_ticks, caption) = from_time.or_else(|| staged(subject))?;
        let last = points.last()?;
        if last.cost.0 <= 0 {
            return None;
        }
        let range = Range::new(&points);
        Some(Chart {
            caption,
            description: format!(
                "Cost fell from {} to {}; the bound rose to {}.",
                figures::per_hour(points[0].cost),
                figures::per_hour(last.cost),
                figures::per_hour(last.bound)
            ),
            cost: steps(&points, |point| range.y(point.cost)),
            bound: steps(&points, |point| range.y(point.bound)),
            between: between(&points, &range),
            cost_end: css(range.y(last.cost)),
            bound_end: css(range.y(last.bound)),
            x_ticks,
            y_ticks: range.ticks(),
        })
    }
}

type Series = (Vec<Point>, Vec<Tick>, String);

/// From the clock.
fn timed(report: &stowage_planner::Report, summary: &stowage_models::plan::Summary) -> Option<Series> {
    let total = i64::try_from(report.elapsed.as_micros()).ok()?.max(1);
    let mut points: Vec<Point> = report
        .timeline
        .iter()
        .filter_map(|moment| {
            let at = i64::try_from(moment.elapsed.as_micros()).ok()?.min(total);
            Some(Point { x: at * WIDTH / total, cost: moment.cost?, bound: moment.bound })
        })
        .collect();
    if points.len() < 2 {
        return None;
    }
    points.push(Point { x: WIDTH, cost: summary.total_cost(), bound: summary.launch_bound });
    let quarter = |part: u32| {
        let class = ["first", "", "", "", "last"][part as usize];
        let text = if part == 0 { "0 s".to_owned() } else { figures::seconds(report.elapsed * part / 4) };
        Tick { at: percent(u64::from(part), 4), text, class }
    };
    let ended = crate::render::stop_reason(report.stop);
    let caption = format!("{} in all; ended by: {ended}", figures::seconds(report.elapsed));
    Some((points, (0..=4).map(quarter).collect(), caption))
}

/// From the plan's own record, which counts work and not time.
fn staged(subject: &Subject<'_>) -> Option<Series> {
    let progress = &subject.plan.progress;
    if progress.len() < 2 {
        return None;
    }
    let n_steps = progress.len() as u64;
    let at = |step: usize| step as u64;
    let mut points: Vec<Point> = progress
        .iter()
        .enumerate()
        .map(|(step, moment)| Point {
            x: i64::try_from(at(step) * WIDTH as u64 / n_steps).unwrap_or(WIDTH),
            cost: moment.cost,
            bound: moment.bound,
        })
        .collect();
    points.push(Point {
        x: WIDTH,
        cost: subject.plan.summary.total_cost(),
        bound: subject.plan.summary.launch_bound,
    });
    let ticks = stage_ticks(progress);
    Some((points, ticks, "by stage of the search".to_owned()))
}

/// Room a stage's name needs, in per cent of the axis, on a desk and on a phone.
const LABEL_ROOM: u64 = 6;
const LABEL_ROOM_PHONE: u64 = 18;

/// The name of each stage where it begins; `minor` names give way on a phone.
fn stage_ticks(progress: &[Progress]) -> Vec<Tick> {
    let n_steps = progress.len() as u64;
    let mut ticks: Vec<Tick> = Vec::new();
    let (mut next, mut next_on_phone) = (0, 0);
    for (step, moment) in progress.iter().enumerate() {
        let at = step as u64 * 100 / n_steps;
        let begins = step == 0 || progress[step - 1].stage != moment.stage;
        if !begins || at < next {
            continue;
        }
        let class = if at < next_on_phone { "first minor" } else { "first" };
        if class == "first" {
            next_on_phone = at + LABEL_ROOM_PHONE;
        }
        next = at + LABEL_ROOM;
        ticks.push(Tick { at: percent(step as u64, n_steps), text: moment.stage.clone(), class });
    }
    ticks
}

/// What the y axis shows.
struct Range {
    low: i64,
    high: i64,
}

impl Range {
    fn new(points: &[Point]) -> Range {
        let end = points.last().map_or(1, |point| point.cost.0.max(1));
        let span = end / 100 * AXIS_SPAN_MAX_PER_CENT;
        let highest = points.iter().map(|point| point.cost.0).max().unwrap_or(end).min(end + span);
        let lowest = points.iter().map(|point| point.bound.0).min().unwrap_or(end).max(end - span);
        let margin = ((highest - lowest) / 12).max(1);
        Range { low: lowest - margin, high: highest + margin }
    }

    /// Hundredths of a unit from the top.
    fn y(&self, amount: UsdMicros) -> i64 {
        let clamped = amount.0.clamp(self.low, self.high);
        let from_top =
            i128::from(self.high - clamped) * i128::from(HEIGHT * 100) / i128::from(self.high - self.low);
        i64::try_from(from_top).unwrap_or(0)
    }

    /// Four round amounts or fewer.
    fn ticks(&self) -> Vec<Tick> {
        let span = self.high - self.low;
        let mut step = 1;
        for candidate in (0..18).flat_map(|exponent| [1, 2, 5].map(|digit| digit * 10_i64.pow(exponent))) {
            step = candidate;
            if span / step <= 4 {
                break;
            }
        }
        let first = self.low.div_euclid(step) + 1;
        let amounts =
            (first..).map(|count| UsdMicros(count * step)).take_while(|amount| amount.0 <= self.high);
        let tick = |amount: UsdMicros| Tick { at: css(self.y(amount)), text: short(amount), class: "" };
        amounts.map(tick).collect()
    }
}

/// A round amount without needless zeros: `$12.5/h`.
fn short(amount: UsdMicros) -> String {
    let text = amount.to_string();
    format!("{}/h", text.trim_end_matches('0').trim_end_matches('.'))
}

fn css(hundredths: i64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// A line that stays until the next point and then jumps.
fn steps(points: &[Point], y: impl Fn(&Point) -> i64) -> String {
    let mut path = String::new();
    for (at, point) in points.iter().enumerate() {
        if at == 0 {
            path.push_str(&format!("M{} {}", point.x, css(y(point))));
        } else {
            path.push_str(&format!("H{}V{}", point.x, css(y(point))));
        }
    }
    path
}

/// The area between cost and bound: along the cost, back along the bound.
fn between(points: &[Point], range: &Range) -> String {
    let mut path = steps(points, |point| range.y(point.cost));
    for (at, point) in points.iter().enumerate().rev() {
        if at + 1 == points.len() {
            path.push_str(&format!("L{} {}", point.x, css(range.y(point.bound))));
        } else {
            path.push_str(&format!("V{}H{}", css(range.y(point.bound)), point.x));
        }
    }
    path.push('Z');
    path
}
