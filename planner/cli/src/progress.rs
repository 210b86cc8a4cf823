//! Progress on stderr: one line, only on a terminal and only for runs that take long enough to wonder.

use crate::render::figures;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use stowage_models::units::Ppm;
use stowage_planner::Moment;

/// Runs shorter than this show nothing: a line that flashes by tells nobody anything.
const QUIET: Duration = Duration::from_secs(1);

/// How often the time on the line moves.
const TICK: Duration = Duration::from_millis(100);

/// The line. It appears after [`QUIET`] and disappears when the run ends, leaving stderr as it was.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    reveal: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Starts the clock of the line.
    #[must_use]
    pub fn start() -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if !std::io::stderr().is_terminal() {
            return Progress { bar, reveal: None };
        }
        let style =
            ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").expect("the template is valid");
        bar.set_style(style);
        bar.set_message("planning");
        let (ended, wait) = channel::<()>();
        let line = bar.clone();
        let reveal = std::thread::spawn(move || {
            // Anything but a time-out means that the run has ended.
            if wait.recv_timeout(QUIET) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                line.set_draw_target(ProgressDrawTarget::stderr());
                line.enable_steady_tick(TICK);
            }
        });
        Progress { bar, reveal: Some((ended, reveal)) }
    }

    /// Puts a moment of the search on the line.
    pub fn show(&self, moment: &Moment) {
        if self.reveal.is_some() {
            self.bar.set_message(describe(moment));
        }
    }

    /// Takes the line away.
    pub fn finish(self) {
        if let Some((ended, reveal)) = self.reveal {
            drop(ended);
            // The thread does nothing that can fail.
            let _ = reveal.join();
        }
        self.bar.finish_and_clear();
    }
}

fn describe(moment: &Moment) -> String {
    let bound = figures::per_hour(moment.bound);
    match moment.cost {
        None => format!("{}   no plan yet   bound {bound}", moment.stage),
        Some(cost) => {
            let gap = Ppm::gap(cost, moment.bound);
            format!("{}   cost {}   bound {bound}   gap {gap}", moment.stage, figures::per_hour(cost))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_models::units::UsdMicros;

    #[test]
    fn the_line_shows_cost_bound_and_gap() {
        let mut moment =
            Moment { elapsed: Duration::ZERO, stage: "pricing", cost: None, bound: UsdMicros(4_000_000) };
        assert_eq!(describe(&moment), "pricing   no plan yet   bound $4.0000/h");
        moment.cost = Some(UsdMicros(4_100_000));
        assert_eq!(describe(&moment), "pricing   cost $4.1000/h   bound $4.0000/h   gap 2.50 %");
    }
}
