//! Where a lab is: a directory with its kubeconfig, and a socket on which it is asked to stop.
//!
//! The socket is also what says whether a lab is up: somebody listens on it exactly as long as the process lives, whatever it dies of.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// What is said on the socket to end a lab.
const STOP: &str = "stop\n";
/// How long ending may take.
const END: Duration = Duration::from_secs(60);
/// Whoever connects must say something within this time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Our files. Nothing else is ever removed: the directory may be one that somebody else uses.
const FILES: [&str; 4] = ["socket", "kubeconfig", "kubeconfig.new", "log"];

/// The directory of a lab.
#[derive(Clone, Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// The one that was given, or `lab` in the user's cache.
    pub(crate) fn find(given: Option<PathBuf>) -> Result<Place, String> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        let directory = given.or_else(|| Some(cache()?.join("stowage/lab")));
        let directory =
            directory.ok_or("neither XDG_CACHE_HOME nor HOME is set\n  hint: --directory PATH")?;
        let whole = std::path::absolute(&directory)
            .map_err(|error| format!("{}: {error}\n  hint: --directory PATH", directory.display()))?;
        Ok(Place(whole))
    }

    /// The directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    /// The kubeconfig; there when everything runs.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// What a lab in the background says.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    /// Makes the directory, for its owner alone: the kubeconfig has all rights.
    pub(crate) fn make(&self) -> Result<(), String> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|error| format!("cannot make {}: {error}\n  hint: --directory PATH", self.0.display()))
    }

    /// Whether a lab is up here.
    pub(crate) fn is_up(&self) -> bool {
        UnixStream::connect(self.socket()).is_ok()
    }

    /// Refuses if a lab is up here.
    pub(crate) fn free(&self) -> Result<(), String> {
        if self.is_up() {
            let hint =
                "`.ci/lab status` shows it, `.ci/lab down` stops it; --directory PATH is for a second one";
            return Err(format!("a lab is up already in {}\n  hint: {hint}", self.0.display()));
        }
        Ok(())
    }

    /// Takes the place for a lab; what a killed one left is overwritten.
    pub(crate) fn claim(&self) -> Result<Claim, String> {
        self.make()?;
        self.free()?;
        let _ = std::fs::remove_file(self.kubeconfig());
        let _ = std::fs::remove_file(self.socket());
        let listener = UnixListener::bind(self.socket()).map_err(|error| {
            // Another's place stays.
            if error.kind() != std::io::ErrorKind::AddrInUse {
                self.remove();
            }
            let hint = "the path of a socket may have 100 characters; --directory takes a shorter one";
            format!("cannot listen on {}: {error}\n  hint: {hint}", self.socket().display())
        })?;
        let (sender, asked) = mpsc::unbounded_channel();
        std::thread::spawn(move || listen(&listener, &sender));
        Ok(Claim { place: self.clone(), asked: Some(asked) })
    }

    /// Writes the kubeconfig, at once or not at all.
    pub(crate) fn write_kubeconfig(&self, text: &str) -> Result<(), String> {
        let new = self.0.join("kubeconfig.new");
        let wrong = |error: std::io::Error| format!("cannot write {}: {error}", self.kubeconfig().display());
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(wrong)?;
        file.write_all(text.as_bytes()).map_err(wrong)?;
        std::fs::rename(&new, self.kubeconfig()).map_err(wrong)
    }

    /// A client of the lab that is up here.
    pub(crate) async fn client(&self) -> Result<Client, String> {
        if !self.is_up() || !self.kubeconfig().exists() {
            let what = if self.is_up() { "the lab is still starting" } else { "no lab is up" };
            return Err(format!("{what} in {}\n  hint: `.ci/lab up` starts one", self.0.display()));
        }
        let read = Kubeconfig::read_from(self.kubeconfig()).map_err(|error| crate::told(&error))?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
        let config = config.map_err(|error| crate::told(&error))?;
        Client::try_from(config).map_err(|error| crate::told(&error))
    }

    /// Stops the lab that is up here and waits for its end; removes what a killed one left.
    pub(crate) fn down(&self) -> Result<(), String> {
        let Ok(mut stream) = UnixStream::connect(self.socket()) else {
            self.remove();
            println!("no lab is up in {}", self.0.display());
            return Ok(());
        };
        let wrong = |error: std::io::Error| format!("cannot ask the lab to stop: {error}");
        stream.set_read_timeout(Some(END)).map_err(wrong)?;
        stream.write_all(STOP.as_bytes()).map_err(wrong)?;
        // It answers with its process number, and its end closes the connection.
        let mut answer = String::new();
        match stream.read_to_string(&mut answer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let hint = "end that process; the control plane ends with it";
                Err(format!("the lab (process {}) does not end\n  hint: {hint}", answer.trim()))
            }
            _ => {
                self.remove();
                println!("the lab is down");
                Ok(())
            }
        }
    }

    /// Removes our files, and the directory if nothing else is in it.
    pub(crate) fn remove(&self) {
        for file in FILES {
            let _ = std::fs::remove_file(self.0.join(file));
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A place that is taken. Dropping it removes its files.
#[derive(Debug)]
pub(crate) struct Claim {
    place: Place,
    asked: Option<mpsc::UnboundedReceiver<UnixStream>>,
}

impl Claim {
    /// Connections over which somebody asked to stop; each is to be kept until the process ends.
    ///
    /// # Panics
    /// The second time.
    pub(crate) fn asked(&mut self) -> mpsc::UnboundedReceiver<UnixStream> {
        self.asked.take().expect("asked for once")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.place.remove();
    }
}

/// Hears who wants to stop the lab, as long as the process lives.
fn listen(listener: &UnixListener, sender: &mpsc::UnboundedSender<UnixStream>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut line = String::new();
        let heard = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| BufReader::new((&stream).take(64)).read_line(&mut line));
        if heard.is_ok() && line == STOP {
            let _ = writeln!(stream, "{}", std::process::id());
            let _ = sender.send(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::find(Some(directory.path().join("lab"))).expect("a place");
        (directory, place)
    }

    #[test]
    fn a_place_is_taken_once_and_left_clean() {
        let (_directory, place) = place();
        let claim = place.claim().expect("it is free");
        assert!(place.is_up());
        assert!(place.claim().expect_err("taken").contains("hint: "));
        place.write_kubeconfig("{}").expect("a file");
        drop(claim);
        assert!(!place.directory().exists());
    }

    #[test]
    fn what_a_killed_lab_left_is_no_obstacle_and_what_others_left_stays() {
        let (_directory, place) = place();
        place.make().expect("a directory");
        // A socket nobody listens on, as after a kill.
        drop(UnixListener::bind(place.socket()).expect("a socket"));
        assert!(!place.is_up());
        let foreign = place.directory().join("notes");
        std::fs::write(&foreign, "mine").expect("a file");
        drop(place.claim().expect("it is free"));
        place.down().expect("nothing to stop");
        assert!(foreign.exists() && !place.socket().exists());
    }

    #[test]
    fn stopping_waits_until_the_connection_closes() {
        let (_directory, place) = place();
        let mut claim = place.claim().expect("it is free");
        let mut asked = claim.asked();
        let (sender, closed) = std::sync::mpsc::channel();
        let asking = {
            let place = place.clone();
            std::thread::spawn(move || place.down().map(|()| sender.send(()).expect("somebody hears")))
        };
        let stream = asked.blocking_recv().expect("somebody asks");
        assert!(closed.recv_timeout(Duration::from_millis(100)).is_err(), "it is still there");
        drop(stream);
        closed.recv_timeout(Duration::from_secs(5)).expect("it is told");
        asking.join().expect("no panic").expect("down");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_with_a_hint() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::find(Some(directory.path().join("x".repeat(120)))).expect("a place");
        assert!(place.claim().expect_err("too long").contains("shorter"));
        assert!(!place.directory().exists(), "nothing is left behind");
    }
}
