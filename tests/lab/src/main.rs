//! `stowage-lab`: a cluster that grows, on one machine. A real control plane, a cloud that is a program, machines that are entries in its
//! tables, and the controller in auto mode, which talks to that cloud with the real AWS SDK. Pods are scheduled and reported as running; no
//! container ever starts. `.ci/lab` builds and calls it.

mod apply;
mod background;
mod machines;
mod place;
mod status;
mod up;

use clap::{Parser, Subcommand};
use place::Place;
use std::path::PathBuf;
use std::process::ExitCode;

/// A lab on this machine: a Kubernetes control plane, a fake EC2, and Stowage launching nodes on it.
#[derive(Debug, Parser)]
#[command(name = "stowage-lab", version, arg_required_else_help = true)]
struct Arguments {
    /// Where the lab keeps its kubeconfig and its socket; two labs need two [default: lab in the cache directory of stowage]
    #[arg(long, global = true, value_name = "PATH")]
    directory: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything and print where the kubeconfig is; until Ctrl-C or `down`
    Up(Up),
    /// Apply manifests (YAML or JSON; `-` reads standard input)
    Apply {
        /// Files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Show node claims, nodes, pods and plans, and what each plan launches and why not more
    Status,
    /// Stop everything and remove what it left
    Down,
}

/// How to start.
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Return when everything runs; what it says goes to a log
    #[arg(long)]
    background: bool,
    /// Port of 127.0.0.1 for the fake EC2; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    cloud_port: u16,
    /// Port of 127.0.0.1 for the controller's metrics; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    metrics_port: u16,
}

fn run(arguments: Arguments) -> Result<(), String> {
    let place = Place::find(arguments.directory)?;
    match arguments.command {
        Command::Up(up) if up.background => background::start(&place, &up),
        Command::Up(up) => up::up(&place, &up),
        Command::Apply { files } => apply::files(&place, &files),
        Command::Status => status::status(&place),
        Command::Down => place.down(),
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stowage-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An error with everything behind it on one line.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut behind = error.source();
    while let Some(cause) = behind {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        behind = cause.source();
    }
    text
}
