//! Goal: a test process that is killed leaves neither programs nor files. Method: this test starts itself again as such a
//! process, with a cluster, and kills it.

use crate::support::is_alive;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use stowage_cluster::{Cluster, eventually};

/// Set for the process that is to be killed.
const VICTIM: &str = "STOWAGE_CLUSTER_VICTIM";

#[tokio::test]
async fn a_killed_test_leaves_nothing() {
    if std::env::var_os(VICTIM).is_some() {
        let cluster = Cluster::builder().start().await.expect("the cluster starts");
        let ids: Vec<String> = cluster.process_ids().iter().map(u32::to_string).collect();
        println!("victim {} {}", ids.join(","), cluster.directory().display());
        std::future::pending::<()>().await;
    }
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "orphans::a_killed_test_leaves_nothing", "--nocapture"])
        .env(VICTIM, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let output = BufReader::new(victim.stdout.take().expect("a pipe"));
    let said = output.lines().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("victim ")?;
        let (ids, directory) = rest.split_once(' ')?;
        let ids: Vec<u32> = ids.split(',').filter_map(|id| id.parse().ok()).collect();
        Some((ids, PathBuf::from(directory)))
    });
    let (ids, directory) = said.expect("the victim says what it started");
    assert_eq!(ids.len(), 2);
    assert!(ids.iter().all(|id| is_alive(*id)) && directory.is_dir());
    victim.kill().expect("it can be killed");
    victim.wait().expect("it ends");
    let nothing = || {
        let alive: Vec<&u32> = ids.iter().filter(|id| is_alive(**id)).collect();
        let left = !alive.is_empty() || directory.exists();
        std::future::ready(if left { Err(format!("{alive:?}, {}", directory.display())) } else { Ok(()) })
    };
    eventually("end of what the victim left", Duration::from_secs(20), nothing).await.expect("all is gone");
}
