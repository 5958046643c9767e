//! `dfagent run` as a service manager starts it, and questions to it.

use std::fs::OpenOptions;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dfagent::config::Settings;
use dfagent::config::worker::AgentSettings;
use dfagent::dispatch::job::Job;
use dfagent::status::client::{self, ClientError};
use dfagent::status::{Action, Answer, Ask, JobStatus, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take before it counts as hanging.
pub const HANGING: Duration = Duration::from_secs(120);

/// Between two looks at a status.
const LOOK: Duration = Duration::from_millis(100);

/// An agent at work; killed when dropped.
pub struct Agent {
    child: Child,
    config: PathBuf,
    /// As it was when the agent was started.
    settings: AgentSettings,
    log: PathBuf,
    manager: Manager,
}

impl Agent {
    /// Starts `dfagent run` and waits until it says that it is ready.
    pub fn start(config: &Path) -> Self {
        let mut agent = Self::start_by(&mut own_program(), config);
        assert!(agent.is_ready(), "the agent ended: {}", agent.log_text());
        agent
    }

    /// Starts it by a command that runs the program in its own place; whether it gets ready is not waited for.
    pub fn start_by(command: &mut Command, config: &Path) -> Self {
        let work = config.parent().unwrap();
        let log = work.join("agent.log");
        let file = OpenOptions::new().create(true).append(true).open(&log);
        command
            .arg("--config")
            .arg(config)
            .arg("run")
            .env("NOTIFY_SOCKET", notify_socket(config))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file.unwrap());
        let manager = Manager::listen(&notify_socket(config));
        let child = command.spawn().unwrap();
        Self {
            child,
            config: config.to_path_buf(),
            settings: Settings::load(Some(config)).unwrap().agent,
            log,
            manager,
        }
    }

    /// Waits until it is ready; false if it ends before.
    pub fn is_ready(&mut self) -> bool {
        let end = Instant::now() + HANGING;
        while self.manager.said.count("READY=1") == 0 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < end, "not ready: {}", self.log_text());
            std::thread::park_timeout(Duration::from_millis(5));
        }
        true
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Whether there is a job and all are done.
    pub fn is_done(&self) -> bool {
        let status = self.try_status();
        status.is_some_and(|status| {
            let mut states = status.jobs.iter().map(|one| one.job.state.name());
            !status.jobs.is_empty() && states.all(|state| state == "done")
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What a service manager hears from it.
    pub fn said(&self) -> Said {
        self.manager.said.clone()
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn ask(&self, ask: Ask) -> Result<Answer, ClientError> {
        client::ask(&self.settings, ask)
    }

    /// How things stand; none if the agent is going or gone.
    pub fn try_status(&self) -> Option<Status> {
        match self.ask(Ask::Status) {
            Ok(Answer::Status(status)) => Some(*status),
            Ok(other) => panic!("{other:?}"),
            Err(error) if error.is_unreachable() => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub fn status(&self) -> Status {
        let status = self.try_status();
        status.unwrap_or_else(|| panic!("no status: {}", self.log_text()))
    }

    /// Asks again and again until there is an answer to the question about the status.
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut(&Status) -> Option<T>) -> T {
        let end = Instant::now() + HANGING;
        loop {
            let status = self.status();
            if let Some(seen) = look(&status) {
                return seen;
            }
            assert!(
                Instant::now() < end,
                "waited in vain until {what}: {status:#?} {}",
                self.log_text()
            );
            pause();
        }
    }

    /// Waits until a job is in a state.
    pub fn wait_for(&self, id: &str, state: &str) -> JobStatus {
        self.wait(&format!("{id} is {state}"), |status| {
            let job = find(status, id)?;
            (job.job.state.name() == state).then(|| job.clone())
        })
    }

    /// Waits until so many jobs are done.
    pub fn wait_done(&self, count: usize) -> Vec<Job> {
        self.wait(&format!("{count} jobs are done"), |status| {
            let done = status.jobs.iter().map(|one| &one.job);
            let done: Vec<Job> = done
                .filter(|job| job.state.name() == "done")
                .cloned()
                .collect();
            (done.len() == count).then_some(done)
        })
    }

    /// Waits for the first job that is seen.
    pub fn wait_job(&self) -> String {
        self.wait("there is a job", |status| {
            Some(status.jobs.first()?.job.id.clone())
        })
    }

    /// Does something about a job; the sentence about it, or why not.
    pub fn act(&self, action: Action, job: &str) -> Result<String, String> {
        let job = job.to_owned();
        match self.ask(Ask::Act { action, job }).unwrap() {
            Answer::Done(said) => Ok(said),
            Answer::Refused { why } => Err(why),
            other => panic!("{other:?}"),
        }
    }

    /// Another subcommand about this agent.
    pub fn command(&self, words: &[&str]) -> crate::lab::Finished {
        let mut command = own_program();
        command.arg("--config").arg(&self.config).args(words);
        crate::lab::finish(&mut command)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
    }

    /// Stops it in order; how it ended and how long that took.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal(Signal::SIGTERM);
        let status = self.child.wait().unwrap();
        (status, begun.elapsed())
    }

    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    /// Waits until it has ended.
    pub fn wait_end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- the agent's log\n{}---", self.log_text());
        }
    }
}

/// Hears what the agent tells a service manager, all of it: a socket that nobody reads fills up.
struct Manager {
    said: Said,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Manager {
    fn listen(path: &Path) -> Self {
        drop(std::fs::remove_file(path));
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        let (said, over) = (Said::default(), Arc::<AtomicBool>::default());
        let (heard, is_over) = (said.clone(), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                // What is pending when it is over is heard all the same.
                let over = is_over.load(Ordering::SeqCst);
                match socket.recv(&mut buffer) {
                    Ok(count) => heard.add(&String::from_utf8_lossy(&buffer[..count])),
                    Err(_) if over => break,
                    Err(_) => {}
                }
            }
        });
        let thread = Some(thread);
        Self { said, over, thread }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// What a service manager was told, in order; complete once the agent is dropped.
#[derive(Clone, Default)]
pub struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    fn add(&self, text: &str) {
        let lines = text.lines().map(str::to_owned);
        self.0.lock().unwrap().extend(lines);
    }

    /// How often this was said.
    pub fn count(&self, line: &str) -> usize {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|one| *one == line).count()
    }

    /// Where it was said last.
    pub fn last(&self, line: &str) -> Option<usize> {
        self.0.lock().unwrap().iter().rposition(|one| one == line)
    }
}

fn notify_socket(config: &Path) -> PathBuf {
    config.with_extension("notify")
}

/// The program under test without settings from the environment.
pub fn own_program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dfagent"))
}

pub fn pause() {
    std::thread::park_timeout(LOOK);
}

pub fn find<'a>(status: &'a Status, id: &str) -> Option<&'a JobStatus> {
    status.jobs.iter().find(|one| one.job.id == id)
}
