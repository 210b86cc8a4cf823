//! Peers that are programs of their own: how they are installed, started, and stopped.

use super::{ANSWER_FORMAT, Answer, Outcome, Peer};
use anyhow::{Context as _, Result, bail};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use stowage_models::digest;

/// A peer's command.
#[derive(Clone, Debug)]
pub struct Program {
    program: PathBuf,
    arguments: Vec<String>,
}

/// What a peer may take beyond its allowance for reading, building its model and answering.
const GRACE: Duration = Duration::from_secs(240);
/// How often a running peer is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Makes a peer ready: builds it, or installs its packages, once, under the user's cache directory.
///
/// # Errors
/// If it cannot be installed; the message says what is missing.
pub fn install(peer: Peer) -> Result<Program> {
    match peer {
        Peer::Karpenter => karpenter(),
        Peer::CpSat | Peer::Highs | Peer::Scip => python(peer),
        Peer::Stowage
        | Peer::StowageSlack
        | Peer::StowageTenSeconds
        | Peer::FirstFitDecreasing
        | Peer::BestFitByPrice
        | Peer::Greedy => bail!("{} is built in", peer.name()),
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// Where installed peers are kept.
fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = base.filter(|path| path.is_absolute()).or_else(home);
    let cache =
        base.context("neither XDG_CACHE_HOME nor HOME is set; set one of them")?.join("stowage/peers");
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    Ok(cache)
}

fn karpenter() -> Result<Program> {
    let source = folder("karpenter");
    let program = cache()?.join("karpenter");
    // Go's own build cache makes this a moment when nothing changed.
    let mut build = Command::new("go");
    build
        .current_dir(&source)
        .env("GOFLAGS", "-mod=readonly")
        .args(["build", "-trimpath", "-o"])
        .arg(&program)
        .arg(".");
    run_quietly(&mut build, "go", "install Go 1.26 (https://go.dev/dl) to run Karpenter")?;
    Ok(Program { program, arguments: Vec::new() })
}

fn python(peer: Peer) -> Result<Program> {
    let source = folder("solvers");
    let requirements = source.join("requirements.txt");
    let text = std::fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let digest = digest::of_bytes(text.as_bytes());
    let venv = cache()?.join(format!("solvers-{}", digest::short(&digest, 12)));
    let python = venv.join("bin/python");
    let complete = venv.join("complete");
    if !complete.exists() {
        let hint = "install Python 3 with venv to run the solvers";
        run_quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv), "python3", hint)?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements);
        run_quietly(&mut pip, "pip", "the packages of benchmarks/peers/solvers/requirements.txt are needed")?;
        std::fs::write(&complete, b"").with_context(|| format!("cannot write {}", complete.display()))?;
    }
    let script = source.join("solve.py").display().to_string();
    Ok(Program { program: python, arguments: vec![script, peer.name().to_owned()] })
}

/// Runs a command to its end; its output is only for the error.
fn run_quietly(command: &mut Command, name: &str, hint: &str) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("not installed: cannot run {name}; {hint}"))?;
    if !output.status.success() {
        let tail = tail(&output.stderr);
        bail!("not installed: {name} failed ({}): {tail}; {hint}", output.status);
    }
    Ok(())
}

/// The last lines of what a program said.
fn tail(bytes: &[u8]) -> String {
    const LINES: usize = 6;
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join(" / ")
}

/// Asks a peer. Never fails: what goes wrong is the outcome of the answer.
#[must_use]
pub fn ask(
    peer: Peer,
    program: &Program,
    question: &[u8],
    seconds: u64,
    threads: usize,
    digests: (&str, &str),
) -> Answer {
    let limit = Duration::from_secs(seconds) + GRACE;
    match converse(program, question, limit, threads) {
        Ok(Some(bytes)) => match read(&bytes, peer, digests) {
            Ok(answer) => answer,
            Err(why) => Answer::without(peer, digests, Outcome::Failed, format!("{why:#}")),
        },
        Ok(None) => {
            let message = format!("stopped: no answer {} s after it was asked", limit.as_secs());
            Answer::without(peer, digests, Outcome::Failed, message)
        }
        Err(why) => Answer::without(peer, digests, Outcome::Failed, format!("{why:#}")),
    }
}

/// Reads an answer and refuses one to another question.
fn read(bytes: &[u8], peer: Peer, digests: (&str, &str)) -> Result<Answer> {
    let answer: Answer = serde_json::from_slice(bytes).context("the answer is not what the protocol says")?;
    if answer.format != ANSWER_FORMAT {
        bail!("the answer has format `{}`, expected `{ANSWER_FORMAT}`", answer.format);
    }
    if (answer.snapshot_digest.as_str(), answer.catalog_digest.as_str()) != digests {
        bail!("the answer is about another snapshot or catalogue");
    }
    if answer.peer != peer.name() {
        bail!("the answer is from `{}`", answer.peer);
    }
    Ok(answer)
}

/// Writes the question, collects the answer; `None` if the peer had to be stopped.
fn converse(program: &Program, question: &[u8], limit: Duration, threads: usize) -> Result<Option<Vec<u8>>> {
    let mut child = Command::new(&program.program)
        .args(&program.arguments)
        .env("GOMAXPROCS", threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.program.display()))?;
    let (mut stdin, mut stdout, mut stderr) =
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
            _ => bail!("the peer has no pipes"),
        };
    std::thread::scope(|scope| {
        // A peer that ends early leaves a broken pipe; its exit status tells the story better.
        scope.spawn(move || drop(stdin.write_all(question)));
        let said = scope.spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).map(|_| bytes)
        });
        let complained = scope.spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).map(|_| bytes)
        });
        let status = wait(&mut child, limit)?;
        let said = said.join().map_err(|_| anyhow::anyhow!("reading the answer panicked"))??;
        let complained = complained.join().map_err(|_| anyhow::anyhow!("reading the errors panicked"))??;
        match status {
            None => Ok(None),
            Some(status) if status.success() => Ok(Some(said)),
            Some(status) => bail!("{status}: {}", tail(&complained)),
        }
    })
}

/// Waits for a child, at most so long; then it is killed.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the peer")? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            child.kill().context("cannot stop the peer")?;
            child.wait().context("cannot wait for the stopped peer")?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGESTS: (&str, &str) = ("sha256:a", "sha256:b");

    fn shell(script: &str) -> Program {
        Program { program: PathBuf::from("/bin/sh"), arguments: vec!["-c".to_owned(), script.to_owned()] }
    }

    fn ask_shell(script: &str) -> Answer {
        ask(Peer::Karpenter, &shell(script), b"{}", 1, 1, DIGESTS)
    }

    #[test]
    fn a_peer_that_crashes_is_an_answer_that_says_so() {
        let answer = ask_shell("echo out of memory >&2; exit 3");
        assert_eq!(answer.outcome, Outcome::Failed);
        assert!(
            answer.message.contains("out of memory") && answer.message.contains('3'),
            "{}",
            answer.message
        );
    }

    #[test]
    fn a_peer_that_is_not_there_is_an_answer_that_says_so() {
        let program = Program { program: PathBuf::from("/nonexistent/peer"), arguments: Vec::new() };
        let answer = ask(Peer::Karpenter, &program, b"{}", 1, 1, DIGESTS);
        assert!(answer.message.contains("cannot start /nonexistent/peer"), "{}", answer.message);
    }

    #[test]
    fn nonsense_and_answers_to_other_questions_are_refused() {
        assert!(ask_shell("echo nonsense").message.contains("not what the protocol says"));
        let other = Answer::new(Peer::Karpenter, "v1", ("sha256:other", "sha256:b"));
        let text = serde_json::to_string(&other).unwrap();
        assert!(ask_shell(&format!("cat >/dev/null; echo '{text}'")).message.contains("another snapshot"));
        let same = Answer::new(Peer::Karpenter, "v1", DIGESTS);
        let text = serde_json::to_string(&same).unwrap();
        assert_eq!(ask_shell(&format!("cat >/dev/null; echo '{text}'")).outcome, Outcome::Complete);
    }

    #[test]
    fn a_peer_that_never_answers_is_stopped() {
        let limit = Duration::from_millis(200);
        // `exec`, so that the sleeper itself is killed and the pipes close.
        let answer = converse(&shell("exec sleep 600"), b"{}", limit, 1);
        assert!(matches!(answer, Ok(None)));
    }
}
