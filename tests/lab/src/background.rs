//! A lab that goes on when the command has returned.

use crate::Up;
use crate::place::Place;
use crate::up::READY;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often its log is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts a lab in a process group of its own, where Ctrl-C does not reach it, and waits until it is ready or has failed. Each of its own steps
/// has a time-out, so one of the two comes.
pub(crate) fn start(place: &Place, up: &Up) -> Result<(), String> {
    place.make()?;
    place.free()?;
    let wrong = |error: std::io::Error| format!("cannot start the lab: {error}");
    let log = std::fs::File::create(place.log()).map_err(wrong)?;
    // Opened now: a lab that fails removes it.
    let mut said = std::fs::File::open(place.log()).map_err(wrong)?;
    let mut child = Command::new(std::env::current_exe().map_err(wrong)?)
        .arg("up")
        .arg("--directory")
        .arg(place.directory())
        .args(["--cloud-port", &up.cloud_port.to_string(), "--metrics-port", &up.metrics_port.to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(wrong)?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(wrong)?;
    let mut text = String::new();
    loop {
        let ended = child.try_wait().map_err(wrong)?;
        said.read_to_string(&mut text).map_err(wrong)?;
        let ready = text.split_inclusive('\n').any(|line| line.starts_with(READY) && line.ends_with('\n'));
        if ended.is_some() || ready {
            print!("{text}");
            if ended.is_some() {
                return Err("the lab ended; above is what it said".to_owned());
            }
            println!("log: {}", place.log().display());
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}
