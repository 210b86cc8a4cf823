//! All programs of a cluster, and their end.

use crate::builder::{Builder, Program};
use crate::component::Component;
use crate::error::Error;
use crate::supervisor::Supervisor;
use crate::wait::eventually;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Programs under one supervisor. Dropping it ends and reaps them.
#[derive(Debug)]
pub(crate) struct Processes {
    components: Vec<Component>,
    /// There is one until drop.
    supervisor: Option<Supervisor>,
    binaries: PathBuf,
}

impl Processes {
    /// None yet, and a directory for their files.
    pub(crate) fn new(binaries: &Path) -> Result<Processes, Error> {
        let supervisor = Some(Supervisor::start()?);
        Ok(Processes { components: Vec::new(), supervisor, binaries: binaries.to_path_buf() })
    }

    /// The directory for their files, and where they run.
    pub(crate) fn directory(&self) -> &Path {
        self.supervisor().directory()
    }

    /// Starts a program with our arguments, then the test's.
    pub(crate) fn start(
        &mut self,
        program: Program,
        mut arguments: Vec<String>,
        builder: &Builder,
    ) -> Result<(), Error> {
        arguments.extend(builder.arguments.get(&program).into_iter().flatten().cloned());
        let started = Component::start(program.name(), &self.binaries, self.supervisor(), &arguments)?;
        self.components.push(started);
        Ok(())
    }

    /// Kills a program.
    pub(crate) fn kill(&mut self, program: Program) {
        let found = self.components.iter_mut().find(|one| one.name == program.name());
        found.into_iter().for_each(Component::kill);
    }

    /// Starts a program that was killed, with the arguments it had.
    pub(crate) fn revive(&mut self, program: Program) -> Result<(), Error> {
        let Some(at) = self.components.iter().position(|one| one.name == program.name()) else {
            return Ok(());
        };
        let arguments = self.components[at].arguments.clone();
        self.components[at] =
            Component::start(program.name(), &self.binaries, self.supervisor(), &arguments)?;
        Ok(())
    }

    /// As [`eventually`], and gives up at once when a program ends by itself. A time-out tells the end of every log: what
    /// is missing, some program should have done.
    pub(crate) async fn eventually<T, F, Answer>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut look: F,
    ) -> Result<T, Error>
    where
        F: FnMut() -> Answer,
        Answer: Future<Output = Result<T, String>>,
    {
        let components = &mut self.components;
        let looked = eventually(what, timeout, || {
            let alive = components.iter_mut().try_for_each(Component::check);
            let answer = look();
            async {
                match alive {
                    Err(ended) => Ok(Err(ended)),
                    Ok(()) => answer.await.map(Ok),
                }
            }
        });
        match looked.await {
            Ok(answer) => answer,
            Err(Error::TimedOut { what, waited, last }) => {
                let logs =
                    self.components.iter().map(|one| format!("\n--- {}:\n{}", one.name, one.log_tail()));
                Err(Error::TimedOut { what, waited, last: last + &logs.collect::<String>() })
            }
            Err(other) => Err(other),
        }
    }

    /// Process numbers.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.components.iter().map(Component::id).collect()
    }

    fn supervisor(&self) -> &Supervisor {
        self.supervisor.as_ref().expect("there is one until drop")
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // In this order: kill, then wait for what has been killed.
        drop(self.supervisor.take());
        self.components.iter_mut().for_each(Component::reap);
    }
}
