//! The comparison as figures (SVG).

use super::report::{of, ratio, snapshots};
use super::row::{Row, best_bound};
use crate::peers::{Outcome, Peer, Task};
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;
use stowage_models::units::UsdMicros;

/// Size of a figure.
const SIZE: (u32, u32) = (960, 540);
/// Ink of axes and texts.
const INK: RGBColor = RGBColor(40, 44, 52);
/// Grid lines.
const GRID: RGBColor = RGBColor(222, 225, 230);

/// Colour and sign of a peer: ours is the strong one, and no two differ by colour alone.
fn look(peer: Peer) -> (RGBColor, char) {
    match peer {
        Peer::Stowage => (RGBColor(0, 92, 175), '●'),
        Peer::StowageSlack => (RGBColor(99, 160, 214), '○'),
        Peer::StowageTenSeconds => (RGBColor(0, 56, 107), '◆'),
        Peer::Karpenter => (RGBColor(214, 92, 16), '■'),
        Peer::CpSat => (RGBColor(120, 81, 169), '▲'),
        Peer::Highs => (RGBColor(0, 128, 105), '▼'),
        Peer::Scip => (RGBColor(176, 48, 96), '◇'),
        Peer::FirstFitDecreasing => (RGBColor(110, 110, 110), '+'),
        Peer::BestFitByPrice => (RGBColor(150, 120, 40), '×'),
        Peer::Greedy => (RGBColor(60, 60, 60), '△'),
    }
}

/// The figures, by file name.
///
/// # Errors
/// If a figure cannot be drawn.
pub fn all(rows: &[Row]) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("cost-over-bound.svg", cost_over_bound(rows)?),
        ("time-against-pods.svg", time_against_pods(rows)?),
        ("gap-over-time.svg", gap_over_time(rows)?),
        ("savings-at-rest.svg", savings_at_rest(rows)?),
    ])
}

/// Writes the figures into a folder.
///
/// # Errors
/// If one cannot be drawn or written.
pub fn write(rows: &[Row], folder: &Path) -> Result<()> {
    for (name, svg) in all(rows)? {
        let path = folder.join(name);
        std::fs::write(&path, svg).map_err(|why| anyhow!("cannot write {}: {why}", path.display()))?;
    }
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws on a white sheet under a title.
fn sheet(
    size: (u32, u32),
    title: &str,
    under: &str,
    draw: impl FnOnce(&Area<'_>) -> Result<()>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        root.draw_text(title, &text(20, true), (16, 12)).map_err(failed)?;
        root.draw_text(under, &text(13, false), (16, 38)).map_err(failed)?;
        draw(&root.margin(60, 0, 0, 0))?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

fn failed(why: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw a figure: {why}")
}

fn text(size: u32, bold: bool) -> TextStyle<'static> {
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    TextStyle::from(FontDesc::new(FontFamily::SansSerif, f64::from(size), style)).color(&INK)
}

fn centred(size: u32, color: RGBColor) -> TextStyle<'static> {
    let mut style = text(size, false).pos(Pos::new(HPos::Center, VPos::Center));
    style.color = color.to_backend_color();
    style
}

fn left_middle(size: u32, color: RGBColor) -> TextStyle<'static> {
    centred(size, color).pos(Pos::new(HPos::Left, VPos::Center))
}

/// Peers in a column of signs and names.
fn legend(area: &Area<'_>, peers: &[Peer], at: (i32, i32)) -> Result<()> {
    for (index, peer) in peers.iter().enumerate() {
        let (color, sign) = look(*peer);
        let y = at.1 + 20 * i32::try_from(index)?;
        area.draw_text(&sign.to_string(), &centred(15, color), (at.0, y)).map_err(failed)?;
        area.draw_text(peer.name(), &left_middle(13, INK), (at.0 + 14, y)).map_err(failed)?;
    }
    Ok(())
}

/// Peers that occur in some rows.
fn peers_of<'r>(rows: impl Iterator<Item = &'r Row>) -> Vec<Peer> {
    let mut peers: Vec<Peer> = rows.filter_map(Row::peer).collect();
    peers.sort();
    peers.dedup();
    peers
}

/// Distance to the bound in per cent of a row that places every pod anybody places.
fn over(row: &Row, rows: &[Row]) -> Option<f64> {
    let placed = of(rows, &row.snapshot).map(|row| row.placed).max()?;
    if row.placed < placed || row.cost.is_none() {
        return None;
    }
    ratio(row.cost, best_bound(row, rows)).map(|ratio| (ratio - 1.0) * 100.0)
}

/// Every peer's distance to the best bound, snapshot by snapshot.
fn cost_over_bound(rows: &[Row]) -> Result<String> {
    const LEAST: f64 = 0.02;
    let points: Vec<(&str, Peer, f64)> = rows
        .iter()
        .filter(|row| row.task == Task::Provision)
        // Cheaper by breaking a rule is no point of the comparison; Karpenter's are shown all the same.
        .filter(|row| row.findings.is_empty() || row.peer() == Some(Peer::Karpenter))
        .filter_map(|row| Some((row.snapshot.as_str(), row.peer()?, over(row, rows)?)))
        .collect();
    let names: Vec<&str> = snapshots(rows)
        .into_iter()
        .filter(|name| points.iter().any(|(snapshot, _, _)| snapshot == name))
        .collect();
    let most = points.iter().map(|(_, _, over)| *over).fold(10.0, f64::max) * 1.3;
    let height = 150 + 30 * u32::try_from(names.len())?;
    let under = "per cent above the best proven lower bound (logarithmic; left is cheaper; at the left edge: 0.02 % or less); accepted answers, and Karpenter's";
    sheet((SIZE.0, height), "Cost over the bound", under, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_right(190)
            .margin_left(12)
            .x_label_area_size(34)
            .y_label_area_size(150)
            .build_cartesian_2d((LEAST..most).log_scale(), 0.0..names.len() as f64)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_label_formatter(&|over| format!("{over} %"))
            .label_style(text(13, false))
            .draw()
            .map_err(failed)?;
        for (index, name) in names.iter().enumerate() {
            let y = names.len() as f64 - index as f64 - 0.5;
            chart.draw_series([PathElement::new(vec![(LEAST, y), (most, y)], GRID)]).map_err(failed)?;
            let at = chart.backend_coord(&(LEAST, y));
            let style = centred(13, INK).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw_text(name, &style, (at.0 - 10, at.1 - 60)).map_err(failed)?;
            for (_, peer, over) in points.iter().filter(|(snapshot, _, _)| snapshot == name) {
                let (color, sign) = look(*peer);
                let at = chart.backend_coord(&(over.max(LEAST), y));
                area.draw_text(&sign.to_string(), &centred(16, color), (at.0, at.1 - 60)).map_err(failed)?;
            }
        }
        let peers = peers_of(rows.iter().filter(|row| row.task == Task::Provision));
        legend(area, &peers, (i32::try_from(SIZE.0)? - 170, 20))
    })
}

/// The family of snapshots whose size alone differs.
fn is_sized(row: &Row) -> bool {
    let size = row.snapshot.strip_prefix("mixed-").unwrap_or_default();
    row.task == Task::Provision
        && (size.parse::<u32>().is_ok()
            || size.strip_suffix('k').is_some_and(|size| size.parse::<u32>().is_ok()))
}

/// Seconds against pods, both logarithmic.
fn time_against_pods(rows: &[Row]) -> Result<String> {
    let sized: Vec<(Peer, usize, f64, bool)> = rows
        .iter()
        .filter(|row| is_sized(row))
        .filter_map(|row| {
            Some((row.peer()?, row.pods, row.median_seconds()?.max(0.0005), row.outcome == Outcome::Timeout))
        })
        .collect();
    let title = "Time to decide against pods";
    let under = "seconds, snapshots mixed-*; both axes logarithmic; hollow end: stopped by its time limit";
    let range = |values: &mut dyn Iterator<Item = f64>, low: f64, high: f64| {
        values.fold((low, high), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (x0, x1) = range(&mut sized.iter().map(|point| point.1 as f64), 100.0, 200.0);
    let (y0, y1) = range(&mut sized.iter().map(|point| point.2), 0.01, 1.0);
    sheet(SIZE, title, under, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_right(190)
            .margin_left(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d((x0 * 0.8..x1 * 1.3).log_scale(), (y0 * 0.7..y1 * 1.5).log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_desc("pending pods")
            .x_label_formatter(&|pods| format!("{pods:.0}"))
            .y_label_formatter(&|seconds| format!("{seconds} s"))
            .label_style(text(13, false))
            .draw()
            .map_err(failed)?;
        let peers = peers_of(rows.iter().filter(|row| is_sized(row)));
        for peer in &peers {
            let (color, sign) = look(*peer);
            let mut line: Vec<(f64, f64, bool)> = sized
                .iter()
                .filter(|point| point.0 == *peer)
                .map(|(_, pods, seconds, stopped)| (*pods as f64, *seconds, *stopped))
                .collect();
            line.sort_by(|a, b| a.0.total_cmp(&b.0));
            let path = line.iter().map(|(pods, seconds, _)| (*pods, *seconds));
            chart.draw_series(LineSeries::new(path, color.stroke_width(2))).map_err(failed)?;
            for (pods, seconds, stopped) in line {
                let at = chart.backend_coord(&(pods, seconds));
                let sign = if stopped { '○' } else { sign };
                area.draw_text(&sign.to_string(), &centred(15, color), (at.0, at.1 - 60)).map_err(failed)?;
            }
        }
        legend(area, &peers, (i32::try_from(SIZE.0)? - 170, 20))
    })
}

/// Steps of a run of ours: seconds and gap in per cent.
fn steps(row: &Row) -> Vec<(f64, f64)> {
    let timeline = row.details["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
    let step = |step: &serde_json::Value| {
        let gap = ratio(step[1].as_i64().map(UsdMicros), step[2].as_i64().map(UsdMicros))?;
        Some((step[0].as_f64()?.max(0.001), (gap - 1.0) * 100.0))
    };
    timeline.iter().filter_map(step).collect()
}

/// How the proven gap closes.
fn gap_over_time(rows: &[Row]) -> Result<String> {
    let lines: Vec<(String, Vec<(f64, f64)>)> = rows
        .iter()
        .filter(|row| row.peer() == Some(Peer::StowageTenSeconds))
        .map(|row| (row.snapshot.clone(), steps(row)))
        .filter(|(_, steps)| !steps.is_empty())
        .collect();
    let under = "proven gap in per cent against seconds of wall clock, stowage-10s; both axes logarithmic";
    gap_curves("Gap over time", under, &lines)
}

/// Gaps in per cent against seconds, a line for each run.
///
/// # Errors
/// If it cannot be drawn.
pub fn gap_curves(title: &str, under: &str, lines: &[(String, Vec<(f64, f64)>)]) -> Result<String> {
    const LEAST: f64 = 0.05;
    let most = lines.iter().flat_map(|(_, steps)| steps).map(|(_, gap)| *gap).fold(5.0, f64::max);
    sheet(SIZE, title, under, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_right(190)
            .margin_left(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d((0.005..15.0).log_scale(), (LEAST..most * 1.2).log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_desc("seconds")
            .y_label_formatter(&|gap| format!("{gap} %"))
            .label_style(text(13, false))
            .draw()
            .map_err(failed)?;
        let one = vec![(0.005, 1.0), (15.0, 1.0)];
        chart.draw_series([PathElement::new(one, INK.mix(0.5).stroke_width(1))]).map_err(failed)?;
        for (index, (name, steps)) in lines.iter().enumerate() {
            let color = Palette99::pick(index).to_rgba();
            // The gap holds until the next step.
            let mut path = Vec::new();
            for (at, gap) in steps {
                if let Some((_, before)) = path.last().copied() {
                    path.push((*at, before));
                }
                path.push((*at, gap.max(LEAST)));
            }
            chart.draw_series(LineSeries::new(path, color.stroke_width(2))).map_err(failed)?;
            let y = 20 + 18 * i32::try_from(index)?;
            let x = i32::try_from(SIZE.0)? - 178;
            area.draw(&PathElement::new(vec![(x, y), (x + 16, y)], color.stroke_width(3))).map_err(failed)?;
            area.draw_text(name, &left_middle(13, INK), (x + 22, y)).map_err(failed)?;
        }
        Ok(())
    })
}

/// Dollars saved at rest against pods moved, run by run.
fn savings_at_rest(rows: &[Row]) -> Result<String> {
    let mut points: Vec<(&str, Peer, f64, f64)> = Vec::new();
    let mut floors: Vec<(&str, f64)> = Vec::new();
    for row in rows.iter().filter(|row| row.task == Task::Consolidate) {
        let (Some(peer), Some(before)) = (row.peer(), row.details["costBefore"].as_i64()) else { continue };
        let saved = |cost: i64| (1.0 - cost as f64 / before as f64) * 100.0;
        let alone = [serde_json::json!({
            "cost": row.cost.map(|cost| cost.0), "podsMoved": row.details["podsMoved"],
        })];
        let runs = row.details["runs"].as_array().map_or(alone.as_slice(), Vec::as_slice);
        for run in runs {
            if let (Some(cost), Some(moved)) = (run["cost"].as_i64(), run["podsMoved"].as_f64()) {
                points.push((&row.snapshot, peer, moved / row.pods.max(1) as f64 * 100.0, saved(cost)));
            }
        }
        if let Some(bound) = best_bound(row, rows) {
            floors.push((&row.snapshot, saved(bound.0)));
        }
    }
    floors.dedup();
    let under = "share of the bill saved against share of the pods moved, one mark for each run; dashed: nobody can save more (proven)";
    sheet(SIZE, "Savings at rest against pods moved", under, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_right(190)
            .margin_left(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..100.0, 0.0..100.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_desc("pods moved, % of the running ones")
            .x_label_formatter(&|share| format!("{share:.0} %"))
            .y_label_formatter(&|share| format!("{share:.0} %"))
            .label_style(text(13, false))
            .draw()
            .map_err(failed)?;
        for (snapshot, floor) in &floors {
            let line = DashedLineSeries::new([(0.0, *floor), (100.0, *floor)], 6, 5, INK.mix(0.6).into());
            chart.draw_series(line).map_err(failed)?;
            let at = chart.backend_coord(&(100.0, *floor));
            area.draw_text(snapshot, &left_middle(13, INK), (at.0 + 6, at.1 - 60)).map_err(failed)?;
        }
        for (index, (snapshot, peer, moved, saved)) in points.iter().enumerate() {
            let (color, sign) = look(*peer);
            let at = chart.backend_coord(&(*moved, *saved));
            area.draw_text(&sign.to_string(), &centred(15, color), (at.0, at.1 - 60)).map_err(failed)?;
            if !points[..index].iter().any(|(earlier, _, _, _)| earlier == snapshot) {
                area.draw_text(snapshot, &left_middle(13, INK), (at.0 + 12, at.1 - 60)).map_err(failed)?;
            }
        }
        let mut peers: Vec<Peer> = points.iter().map(|(_, peer, _, _)| *peer).collect();
        peers.sort();
        peers.dedup();
        legend(area, &peers, (i32::try_from(SIZE.0)? - 170, 20))
    })
}
