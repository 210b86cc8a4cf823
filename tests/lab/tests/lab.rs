//! Goal: the lab as the README shows it: it comes up, pods of the sample run on nodes that came for them, its commands tell so, and when it is
//! down nothing of it is left: no process, no file. Method: the program, twice: once stopped by `down`, once by Ctrl-C.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What takes a while on a busy machine.
const LATER: Duration = Duration::from_secs(240);

/// A lab in a directory of its own, where its cluster keeps its files, too.
struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let scene = Scene { directory: tempfile::tempdir().expect("a directory") };
        std::fs::create_dir(scene.temporary()).expect("a directory");
        scene
    }

    fn temporary(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    fn lab(&self) -> PathBuf {
        self.directory.path().join("lab")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stowage-lab"));
        command.args(arguments).arg("--directory").arg(self.lab()).env("TMPDIR", self.temporary());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Runs a command that must succeed, and gives what it printed.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Starts a lab in the foreground and waits until it is ready.
    fn up(&self) -> (Child, String) {
        let mut child = self.command(&["up"]).stdout(Stdio::piped()).spawn().expect("the program runs");
        let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut text = String::new();
        while !text.lines().any(|line| line.starts_with("ready")) {
            assert!(said.read_line(&mut text).expect("text") > 0, "it ended before it was ready:\n{text}");
        }
        // Somebody must read on.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::stdout()));
        (child, text)
    }

    /// Processes of the lab: they, and no others, were started with our directory for temporary files.
    fn processes(&self) -> Vec<String> {
        let mark = format!("TMPDIR={}", self.temporary().display());
        let all = std::fs::read_dir("/proc").expect("/proc");
        let paths = all.filter_map(|entry| Some(entry.ok()?.path()));
        paths
            .filter(|path| {
                let environment = std::fs::read(path.join("environ")).unwrap_or_default();
                environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
            })
            .map(|path| std::fs::read_to_string(path.join("cmdline")).unwrap_or_default().replace('\0', " "))
            .collect()
    }

    /// Nothing is left of the lab.
    fn assert_gone(&self) {
        assert_eq!(self.processes(), Vec::<String>::new(), "no process is left");
        assert!(!self.lab().exists(), "the lab's directory is gone");
        assert_eq!(files(&self.temporary()), 0, "the cluster's files are gone");
    }
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).expect("a directory").count()
}

/// Lines of a table of `status`, its titles left out; none if there is no such table.
fn table(status: &str, title: &str) -> Vec<String> {
    let head = format!("{title}: ");
    let lines = status.lines().skip_while(|line| !line.starts_with(&head));
    lines.skip(2).take_while(|line| line.starts_with("  ")).map(str::to_owned).collect()
}

#[test]
fn pods_of_the_sample_run_and_nothing_is_left() {
    let begun = Instant::now();
    let lap = |what: &str| eprintln!("{:6.1} s {what}", begun.elapsed().as_secs_f64());
    let scene = Scene::new();
    let refused = scene.run(&["status"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("no lab is up") && told.contains("hint: "), "{told}");

    let (mut child, said) = scene.up();
    lap("up");
    let kubeconfig = said.lines().find_map(|line| line.strip_prefix("kubeconfig: ")).expect("a path");
    assert!(Path::new(kubeconfig).is_file());
    assert!(!scene.processes().is_empty(), "processes of a lab can be found");
    let second = scene.run(&["up"]);
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && told.contains("a lab is up already"), "{told}");

    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/sample.yaml");
    let applied = scene.good(&["apply", sample]);
    assert_eq!(applied, "deployment.apps/web applied\ndeployment.apps/store applied\n");
    let again = scene.good(&["apply", sample]);
    assert_eq!(again, applied, "applying is idempotent");
    let nonsense = scene.directory.path().join("nonsense.yaml");
    std::fs::write(&nonsense, "apiVersion: v1\nkind: Nonsense\nmetadata: {name: a}\n").expect("a file");
    let nonsense = scene.run(&["apply", nonsense.to_str().expect("text")]);
    let told = String::from_utf8_lossy(&nonsense.stderr).into_owned();
    assert!(!nonsense.status.success() && told.contains("(Nonsense a)"), "{told}");

    // Twenty and six pods, all of them running, on nodes that all came from claims.
    let status = loop {
        let status = scene.good(&["status"]);
        let running = table(&status, "pods").iter().filter(|line| line.contains(" Running ")).count();
        let ready = table(&status, "nodeclaims").iter().filter(|line| line.contains(" True ")).count();
        if running == 26 && ready > 0 && ready == table(&status, "nodeclaims").len() {
            break status;
        }
        assert!(begun.elapsed() < LATER, "{running} pods run:\n{status}");
        std::thread::sleep(Duration::from_millis(300));
    };
    lap("all pods run");
    eprintln!("{status}");
    assert_eq!(table(&status, "pods").len(), 26);
    assert_eq!(table(&status, "nodes").len(), table(&status, "nodeclaims").len());
    assert!(!table(&status, "plans").is_empty());
    assert!(status.contains("proven (gap ") && status.contains("  launches "), "{status}");
    assert!(status.contains(kubeconfig), "{status}");

    let down = scene.good(&["down"]);
    assert_eq!(down, "the lab is down\n");
    assert!(child.wait().expect("a status").success());
    scene.assert_gone();
    lap("down");
    assert!(scene.good(&["down"]).contains("no lab is up"), "down twice is no error");
}

#[test]
fn an_interrupt_ends_all_of_it_too() {
    let scene = Scene::new();
    let (mut child, _) = scene.up();
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(kill.success());
    assert!(child.wait().expect("a status").success());
    scene.assert_gone();
}

#[test]
fn a_background_lab_outlives_its_command_and_goes_down() {
    let scene = Scene::new();
    let said = scene.good(&["up", "--background"]);
    assert!(said.contains("\nkubeconfig: ") && said.contains("\nlog: "), "{said}");
    assert!(scene.good(&["status"]).contains("no pods"));
    scene.good(&["down"]);
    scene.assert_gone();
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_is_left() {
    let scene = Scene::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let refused = scene.run(&["up", "--cloud-port", &port]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains(&port) && told.contains("--cloud-port"), "{told}");
    scene.assert_gone();
    let background = scene.run(&["up", "--background", "--cloud-port", &port]);
    let told = String::from_utf8_lossy(&background.stdout).into_owned();
    assert!(!background.status.success() && told.contains(&port), "{told}");
    scene.assert_gone();
}

#[test]
fn without_a_control_plane_it_says_what_to_run() {
    let scene = Scene::new();
    let empty = scene.directory.path().join("empty");
    let refused = scene.command(&["up"]).env("XDG_CACHE_HOME", &empty).output().expect("the program runs");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("run `.ci/kubernetes`"), "{told}");
    scene.assert_gone();
}
