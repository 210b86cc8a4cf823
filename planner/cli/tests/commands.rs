//! The binary from outside: exit codes, bad input, streams that close early.

mod support;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use stowage_cli::render::document;

fn stowage(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stowage"));
    command.args(arguments).env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    stowage(arguments).output().expect("the binary starts")
}

fn run_with_stdin(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = stowage(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // The command may refuse before it has read everything.
    let _ = child.stdin.take().expect("stdin is piped").write_all(input);
    child.wait_with_output().expect("the binary ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// Fails with `code`, prints nothing on stdout, does not panic, and says all of `words` on stderr.
fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "data on stdout: {}", text(&output.stdout));
    assert!(!stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in {stderr}");
    }
}

fn assert_ok(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// A cluster small enough to plan by hand: `pods` pods of one cpu and one NodePool.
fn snapshot(pods: usize) -> String {
    let pod = |at: usize| {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": format!("web-{at}")},
            "spec": {"containers": [{"name": "web", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
            "status": {"phase": "Pending"},
        })
    };
    let pool = serde_json::json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "general"},
        "spec": {"template": {"spec": {
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
            "requirements": [
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.large", "m5.xlarge", "c6i.2xlarge"]},
                {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
                {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1a"]},
            ]}}},
    });
    let items: Vec<_> = (0..pods).map(pod).chain([pool]).collect();
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn write(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).expect("test files can be written");
    path.display().to_string()
}

#[test]
fn bad_flag_values_are_usage_errors() {
    for (flag, value) in [
        ("--gap", "-1"),
        ("--gap", "abc"),
        ("--gap", "2"),
        ("--time-limit", "0"),
        ("--time-limit", "5"),
        ("--time-limit", "-1s"),
        ("--slack", "2"),
        ("--slack", "-0.1"),
        ("--threads", "0"),
        ("--seed", "x"),
        ("-o", "pdf"),
        ("--color", "sometimes"),
    ] {
        assert_fails(&run(&["plan", "unread.json", flag, value]), 1, &["error: ", value]);
    }
    assert_fails(&run(&["plan"]), 1, &["INPUT"]);
    assert_fails(&run(&["plam"]), 1, &["plan"]);
    assert_fails(&run(&["import", "x.csv", "--nodes", "y.csv"]), 1, &["--openb"]);
}

#[test]
fn help_and_version_are_data() {
    for arguments in [&["--help"][..], &["plan", "--help"], &["check", "-h"], &["--version"]] {
        assert!(assert_ok(&run(arguments)).contains("stowage"));
    }
    let help = assert_ok(&run(&["plan", "--help"]));
    for part in ["Exit codes:", "--time-limit", "--detailed-exitcode", "stale", "refused"] {
        assert!(help.contains(part), "{part}");
    }
}

#[test]
fn unreadable_input_names_the_file() {
    let directory = support::directory("unreadable");
    let absent = directory.join("absent.json").display().to_string();
    assert_fails(&run(&["plan", &absent]), 1, &["error: ", "absent.json: no such file", "hint: "]);
    assert_fails(
        &run(&["plan", &directory.display().to_string()]),
        1,
        &["is a directory", "hint: name the files"],
    );
    let empty = write(&directory, "empty.json", "");
    assert_fails(&run(&["plan", &empty]), 1, &["empty.json: is empty", "hint: "]);
    let truncated = write(&directory, "truncated.json", &snapshot(3)[..200]);
    assert_fails(&run(&["plan", &truncated]), 1, &["error: ", "truncated.json", "hint: "]);
    assert_fails(&run(&["show", &truncated]), 1, &["error: ", "truncated.json", "hint: "]);
    let nonsense = write(&directory, "nonsense.catalog", "nonsense");
    let cluster = write(&directory, "cluster.json", &snapshot(1));
    assert_fails(&run(&["plan", &cluster, "--catalog", &nonsense]), 1, &["nonsense.catalog", "hint: "]);
    assert_fails(&run(&["plan", "-", "-"]), 1, &["stdin: is named more than once"]);
}

#[test]
fn a_plan_of_the_future_is_refused() {
    let directory = support::directory("future");
    let mut plan = support::short();
    plan.format_version = "2.0".to_owned();
    let future = write(&directory, "future.json", &document::json(&plan));
    assert_fails(&run(&["show", &future]), 1, &["error: ", "future.json", "2.0", "hint: "]);
    let snapshot = r#"{"kind": "StowageSnapshot", "formatVersion": "2.0"}"#;
    let future = write(&directory, "snapshot.json", snapshot);
    assert_fails(&run(&["plan", &future]), 1, &["error: ", "snapshot.json", "2.0", "hint: "]);
}

#[test]
fn stdin_that_closes_early_is_an_error() {
    assert_fails(&run(&["plan", "-"]), 1, &["error: stdin: is empty", "hint: "]);
    assert_fails(
        &run_with_stdin(&["plan", "-"], b"{\"kind\": \"List\", \"it"),
        1,
        &["error: stdin", "hint: "],
    );
}

#[test]
fn stdout_that_closes_early_is_none() {
    let directory = support::directory("epipe");
    let plan = write(&directory, "plan.json", &document::json(&support::realistic()));
    let mut child = stowage(&["show", &plan, "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().expect("stderr is piped").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!(child.wait().expect("the binary ends").code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn output_that_cannot_be_written_names_the_path_and_leaves_nothing() {
    let directory = support::directory("unwritable");
    let plan = write(&directory, "plan.json", &document::json(&support::short()));
    let nowhere = directory.join("no/such/directory.html").display().to_string();
    assert_fails(
        &run(&["show", &plan, "-o", "html", "--out", &nowhere]),
        1,
        &["no/such/directory.html", "cannot write", "hint: "],
    );
    let taken = directory.display().to_string();
    assert_fails(&run(&["show", &plan, "--out", &taken]), 1, &["cannot write", "directory", "hint: "]);
    let below_file = format!("{plan}/x");
    assert_fails(&run(&["show", &plan, "--out", &below_file]), 1, &["cannot write", "hint: "]);
    let left: Vec<_> = std::fs::read_dir(&directory).expect("readable").collect();
    assert_eq!(left.len(), 1, "only the plan is there: {left:?}");
}

#[test]
fn out_replaces_a_file_as_a_whole() {
    let directory = support::directory("replace");
    let plan = write(&directory, "plan.json", &document::json(&support::short()));
    let old = write(&directory, "shown.md", &"x".repeat(1_000_000));
    assert_eq!(assert_ok(&run(&["show", &plan, "-o", "markdown", "--out", &old])), "");
    let shown = std::fs::read_to_string(&old).expect("readable");
    assert!(shown.starts_with("### Stowage"), "{shown}");
    assert_eq!(std::fs::read_dir(&directory).expect("readable").count(), 2);
}

#[test]
fn outputs_never_replace_inputs() {
    let directory = support::directory("apart");
    let input = write(&directory, "cluster.json", &snapshot(2));
    let other = directory.join("./cluster.json").display().to_string();
    for output in [&input, &other] {
        assert_fails(&run(&["plan", &input, "--out", output]), 1, &["is an input of this command, too"]);
        assert_fails(&run(&["plan", &input, "--report", output]), 1, &["is an input of this command, too"]);
    }
    assert_eq!(std::fs::read_to_string(&input).unwrap(), snapshot(2));
    let report = directory.join("new").display().to_string();
    assert_fails(&run(&["plan", &input, "--out", &report, "--report", &report]), 1, &["written twice"]);
}

#[test]
fn colour_is_asked_for_and_never_in_files() {
    let directory = support::directory("colour");
    let plan = write(&directory, "plan.json", &document::json(&support::short()));
    let escape = '\u{1b}';
    assert!(!assert_ok(&run(&["show", &plan])).contains(escape), "not a terminal");
    assert!(assert_ok(&run(&["show", &plan, "--color", "always"])).contains(escape));
    assert!(!assert_ok(&run(&["show", &plan, "--color", "never"])).contains(escape));
    let out = directory.join("table.txt");
    assert_ok(&run(&["show", &plan, "--color", "always", "--out", &out.display().to_string()]));
    assert!(!std::fs::read_to_string(out).expect("readable").contains(escape));
}

#[test]
fn show_diff_and_explain_read_plan_files() {
    let directory = support::directory("readers");
    let before = write(&directory, "before.json", &document::json(&support::short()));
    let after = write(&directory, "after.yaml", &document::yaml(&support::realistic()));
    assert!(assert_ok(&run(&["show", &after])).contains("Launch 30 nodes"));
    assert_eq!(run(&["show", &after, "--detailed-exitcode"]).status.code(), Some(2));
    assert!(assert_ok(&run(&["diff", &before, &after])).contains("→"));
    assert_eq!(run(&["diff", &before, &after, "--detailed-exitcode"]).status.code(), Some(2));
    assert_eq!(run(&["diff", &before, &before, "--detailed-exitcode"]).status.code(), Some(0));
    let told = assert_ok(&run(&["explain", &before, "node", "new-0001", "-o", "json"]));
    assert!(serde_json::from_str::<serde_json::Value>(&told).is_ok(), "{told}");
    assert_fails(&run(&["explain", &before, "pod", "web"]), 1, &["error: web", "NAMESPACE/NAME"]);
    assert_fails(&run(&["explain", &before, "node", "new-1"]), 1, &["no such node", "hint: "]);
    let json = assert_ok(&run(&["show", &before, "-o", "json"]));
    assert_eq!(json, std::fs::read_to_string(&before).expect("readable"), "the same bytes");
}

#[test]
fn manual_and_completion_are_complete() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(assert_ok(&run(&["completion", shell])).contains("detailed-exitcode"), "{shell}");
    }
    assert!(assert_ok(&run(&["man"])).contains(".TH"));
    let directory = support::directory("man");
    assert_ok(&run(&["man", "--dir", &directory.display().to_string()]));
    for page in ["stowage.1", "stowage-plan.1", "stowage-catalog-show.1"] {
        assert!(directory.join(page).is_file(), "{page}");
    }
}

#[test]
fn catalog_lists_filters_and_round_trips() {
    let shown = assert_ok(&run(&["catalog", "show", "m5.", "--sort", "price"]));
    assert!(shown.contains("m5.large") && !shown.contains("c5.large"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
    let json = assert_ok(&run(&["catalog", "show", "--arch", "arm64", "--min-cpu", "100", "-o", "json"]));
    assert!(json.contains("arm64") && !json.contains("amd64"));
    assert_fails(&run(&["catalog", "show", "--min-memory", "lots"]), 1, &["--min-memory", "hint: "]);
    assert_fails(&run(&["catalog", "show", "--zone", "mars-1a"]), 1, &["mars-1a", "hint: "]);
    let directory = support::directory("catalog");
    let file = directory.join("ec2.catalog").display().to_string();
    assert_ok(&run(&["catalog", "export", "--out", &file]));
    let again = assert_ok(&run(&["catalog", "export", "--catalog", &file]));
    assert_eq!(again, std::fs::read_to_string(&file).expect("readable"));
}

#[test]
fn import_writes_every_form_and_reads_it_back() {
    let directory = support::directory("import");
    let input = write(&directory, "cluster.json", &snapshot(3));
    for name in ["out.json", "out.yaml", "out.json.zst"] {
        let out = directory.join(name).display().to_string();
        let written = run(&["import", &input, "--out", &out]);
        assert_ok(&written);
        assert!(text(&written.stderr).contains("3 Pod"), "{}", text(&written.stderr));
        assert_eq!(assert_ok(&run(&["import", &out])), assert_ok(&run(&["import", &input])), "{name}");
    }
}

#[test]
fn openb_traces_are_imported() {
    let directory = support::directory("openb");
    let pods = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos\np-1,1000,2048,0,0,,LS\np-2,4000,8192,1,1000,,LS\n";
    let pods = write(&directory, "pods.csv", pods);
    let out = directory.join("openb.json").display().to_string();
    assert_ok(&run(&["import", "--openb", &pods, "--out", &out]));
    assert!(std::fs::read_to_string(out).expect("readable").contains("p-2"));
}

#[test]
fn a_plan_is_made_checked_and_shown() {
    let directory = support::directory("plan");
    let cluster = write(&directory, "cluster.json", &snapshot(20));
    let plan = directory.join("plan.json").display().to_string();
    let report = directory.join("report.html").display().to_string();
    let made =
        run(&["plan", &cluster, "-o", "json", "--out", &plan, "--report", &report, "--detailed-exitcode"]);
    assert_eq!(made.status.code(), Some(2), "{}", text(&made.stderr));
    assert!(std::fs::read_to_string(&report).expect("readable").contains("data-figure=\"launchCost\""));
    let checked = assert_ok(&run(&["check", &cluster, &plan]));
    assert!(checked.starts_with("accepted  plan ") && checked.lines().count() == 1, "{checked}");
    assert_eq!(checked, assert_ok(&run(&["check", &cluster, "--plan", &plan])));

    // The same from a pipe, byte for byte.
    let piped = run_with_stdin(&["plan", "-", "-o", "json"], snapshot(20).as_bytes());
    assert_eq!(assert_ok(&piped), std::fs::read_to_string(&plan).expect("readable"));

    let other = write(&directory, "other.json", &snapshot(21));
    assert_fails(&run(&["check", &other, &plan]), 3, &["stale", "hint: plan again"]);

    let content = std::fs::read_to_string(&plan).expect("readable");
    let forged = content.replacen("\"launchCost\": ", "\"launchCost\": 1", 1);
    let forged = write(&directory, "forged.json", &forged);
    assert_fails(&run(&["check", &cluster, &forged]), 4, &["refused", "hint: "]);
    assert_fails(&run(&["check", &plan]), 1, &["SNAPSHOT... PLAN"]);
}

#[test]
fn no_pods_is_no_change() {
    let directory = support::directory("nothing");
    let cluster = write(&directory, "cluster.json", &snapshot(0));
    let output = run(&["plan", &cluster, "--detailed-exitcode"]);
    assert!(assert_ok(&output).contains("nothing to do"));
    for format in ["json", "yaml", "markdown", "html"] {
        assert_ok(&run(&["plan", &cluster, "-o", format]));
    }
}

/// The plan of a cluster in a file, with more options.
fn planned(cluster: &str, options: &[&str]) -> stowage_models::plan::Plan {
    let printed =
        assert_ok(&run(&[&["plan", cluster, "-o", "json", "--time-limit", "10s"], options].concat()));
    serde_json::from_str(&printed).expect("the plan is JSON")
}

#[test]
fn what_if_changes_the_question_and_not_the_input() {
    let directory = support::directory("what-if");
    let cluster = write(&directory, "cluster.json", &snapshot(9));
    let base = planned(&cluster, &[]);
    assert!(base.what_if.is_empty());
    let without = planned(&cluster, &["--exclude-type", "c6i.*"]);
    assert!(
        base.launches.iter().any(|launch| launch.instance_type.starts_with("c6i.")),
        "else nothing is tested"
    );
    assert!(without.launches.iter().all(|launch| !launch.instance_type.starts_with("c6i.")));
    assert!(without.summary.launch_cost >= base.summary.launch_cost);
    let dearer = planned(&cluster, &["--price-factor", "on-demand=2"]);
    assert_eq!(dearer.summary.launch_cost.0, 2 * base.summary.launch_cost.0);
    let on_spot = planned(&cluster, &["--allow", "capacity-type=spot"]);
    assert!(on_spot.summary.launch_cost < base.summary.launch_cost);
    assert!(
        on_spot.notes[0].starts_with("what if: karpenter.sh/capacity-type spot allowed"),
        "{:?}",
        on_spot.notes
    );
    // The referee repeats the change; without it the plan is stale, so nobody carries it out.
    let saved = write(&directory, "plan.json", &document::json(&on_spot));
    assert!(assert_ok(&run(&["check", &cluster, &saved])).starts_with("accepted"));
    let mut bare = on_spot.clone();
    bare.what_if = stowage_models::whatif::WhatIf::default();
    bare.id = bare.compute_id();
    let bare = write(&directory, "bare.json", &document::json(&bare));
    assert_fails(&run(&["check", &cluster, &bare]), 3, &["stale"]);
    assert_fails(&run(&["plan", &cluster, "--exclude-type", "m5.lrge"]), 1, &["m5.lrge", "m5.", "hint: "]);
    assert_fails(&run(&["plan", &cluster, "--price-factor", "sopt=2"]), 1, &["sopt", "spot"]);
    assert_fails(&run(&["plan", &cluster, "--price-factor", "spot=0"]), 1, &["spot=1.3"]);
    assert_fails(&run(&["plan", &cluster, "--allow", "team=a"]), 1, &["arch=arm64"]);
}

#[test]
fn variants_stand_side_by_side() {
    let directory = support::directory("variants");
    let cluster = write(&directory, "cluster.json", &snapshot(9));
    let printed = assert_ok(&run(&["whatif", &cluster, "-o", "json", "--time-limit", "10s"]));
    let answers: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let base = planned(&cluster, &[]);
    assert_eq!(answers["asIs"]["cost"], serde_json::json!(base.summary.launch_cost.0));
    assert_eq!(answers["asIs"]["plan"], serde_json::json!(base.id));
    let names: Vec<&str> =
        answers["variants"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"with spot") && names.contains(&"with zone us-east-1b"), "{names:?}");
    assert!(!names.contains(&"with zone us-east-1a") && !names.contains(&"with arm64"), "{names:?}");
    let spot = answers["variants"].as_array().unwrap().iter().find(|one| one["name"] == "with spot").unwrap();
    let on_spot = planned(&cluster, &["--allow", "capacity-type=spot"]);
    assert_eq!(spot["plan"], serde_json::json!(on_spot.id), "a row is a plan that can be made again");
    assert_eq!(spot["saves"], serde_json::json!((base.summary.launch_cost - on_spot.summary.launch_cost).0));
    let table = assert_ok(&run(&[
        "whatif",
        &cluster,
        "--time-limit",
        "10s",
        "--variant",
        "allow:capacity-type=spot",
    ]));
    assert!(table.contains("Most is saved karpenter.sh/capacity-type spot allowed"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert_fails(&run(&["whatif", &cluster, "--variant", "spot"]), 1, &["allow:arch=arm64"]);
}

#[test]
fn record_runs_the_program_beside_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("record");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a directory");
    let program = directory.join("stowage");
    std::fs::copy(env!("CARGO_BIN_EXE_stowage"), &program).expect("a copy");
    let record = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("record").args(arguments).env("PATH", &directory);
        loop {
            // A process that another test has just forked may still hold the file that was written for this one.
            match command.output() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                output => return output.expect("the binary starts"),
            }
        }
    };
    assert_fails(&record(&[]), 1, &["stowage-record", "cargo install"]);
    let beside = directory.join("stowage-record");
    std::fs::write(&beside, "#!/bin/sh\necho \"$@\"\n[ \"$1\" != --bad ]\n").expect("a script");
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).expect("it may run");
    assert_eq!(assert_ok(&record(&["--help", "--out", "a file"])), "--help --out a file\n");
    assert_eq!(record(&["--bad"]).status.code(), Some(1));
}
