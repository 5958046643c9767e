//! Programs of the operator that are run after a job: detach the volume, open a ticket.
//!
//! A hook gets facts as arguments and environment, never through a shell, runs as an account of its own with
//! nothing of ours, and in a process group of its own that does not outlive it. Which hooks are due is decided
//! elsewhere. A process that leaves the group on purpose is beyond what is done here.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, User};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::config::worker::HookSettings;
use crate::dispatch::job::HookRecord;
use crate::printable;

/// How much of what a hook says last is kept, in bytes, of each of its two outputs.
const MOST_SAID: usize = 64 * 1024;

/// How long a hook may take to stop in order.
const GRACE: Duration = Duration::from_secs(5);

/// How long is waited for the end of its outputs once its group was killed. A process that left the group may
/// hold them open for as long as it likes.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a hook is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookFacts {
    /// The job.
    pub job: String,
    /// The volume's identity.
    pub volume: String,
    /// Its node.
    pub node: String,
    /// Its attachment point.
    pub point: String,
    /// The case; empty: none.
    pub case: String,
    /// The verdict.
    pub verdict: String,
    /// The folder of the results.
    pub folder: String,
    /// The address of the sketch that its events are in; empty: they are in the folder.
    pub sketch: String,
}

impl HookFacts {
    /// Every fact with the name of its placeholder and of its variable.
    fn named(&self) -> [(&'static str, &'static str, &str); 8] {
        [
            ("job", "DFAGENT_JOB", &self.job),
            ("volume", "DFAGENT_VOLUME", &self.volume),
            ("node", "DFAGENT_NODE", &self.node),
            ("point", "DFAGENT_POINT", &self.point),
            ("case", "DFAGENT_CASE", &self.case),
            ("verdict", "DFAGENT_VERDICT", &self.verdict),
            ("folder", "DFAGENT_FOLDER", &self.folder),
            ("sketch", "DFAGENT_SKETCH", &self.sketch),
        ]
    }

    /// An argument with its placeholders filled in. What is filled in is not looked at again.
    fn fill(&self, argument: &str) -> String {
        let mut out = String::new();
        let mut rest = argument;
        while let Some(start) = rest.find('{') {
            let (before, from) = rest.split_at(start);
            out.push_str(before);
            let name = from[1..].split('}').next().unwrap_or_default();
            let named = self.named();
            let fact = named.iter().find(|(placeholder, ..)| *placeholder == name);
            match fact {
                Some((_, _, value)) if from[1..].len() > name.len() => {
                    out.push_str(value);
                    rest = &from[name.len() + 2..];
                }
                _ => {
                    out.push('{');
                    rest = &from[1..];
                }
            }
        }
        out + rest
    }
}

/// Runs a hook to its end. Dropping the future kills its group. Like cages, hooks are started from the main
/// thread only.
pub async fn run(hook_name: &str, hook: &HookSettings, facts: &HookFacts) -> HookRecord {
    let went = match start(hook, facts) {
        Ok(running) => running.finish(hook).await,
        Err(why) => Err(why),
    };
    let (ok, text) = match went {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    HookRecord {
        name: hook_name.to_owned(),
        ok,
        outcome: printable::line(&text, 500),
    }
}

fn start(hook: &HookSettings, facts: &HookFacts) -> Result<Running, String> {
    for (name, _, value) in facts.named() {
        if value.contains('\0') {
            return Err(format!("was not started: its {name} holds a NUL character"));
        }
    }
    let user = match User::from_name(&hook.user) {
        Ok(Some(user)) => user,
        Ok(None) => {
            return Err(format!(
                "was not started: there is no account {:?}; make it or change the hook's user",
                hook.user
            ));
        }
        Err(error) => {
            return Err(format!(
                "was not started: the account {:?} cannot be looked up: {error}",
                hook.user
            ));
        }
    };
    let mut arguments = hook.run.iter().map(|argument| facts.fill(argument));
    let program = arguments.next().unwrap_or_default();
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(facts.named().map(|(_, variable, value)| (variable, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // With a user the standard library also clears the supplementary groups.
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw())
        .process_group(0);
    let child = command
        .spawn()
        .map_err(|error| format!("{program} cannot be started as {}: {error}", hook.user))?;
    Running::new(child).map_err(|error| format!("{program} cannot be watched: {error}"))
}

/// A hook at work. Its leader is not reaped before the group was killed, so the number of the group cannot
/// belong to anybody else by then.
struct Running {
    child: Child,
    group: Pid,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once the leader is reaped it has no number any more, and its group was killed already.
        if self.child.id().is_some() {
            self.signal(Signal::SIGKILL);
        }
    }
}

impl Running {
    fn new(child: Child) -> io::Result<Self> {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        let number = number.ok_or_else(|| io::Error::other("it has no process id"))?;
        Ok(Self {
            child,
            group: Pid::from_raw(number),
        })
    }

    fn signal(&self, signal: Signal) {
        // The only refusal is that nobody is left.
        killpg(self.group, signal).unwrap_or_default();
    }

    /// How it ended, in words.
    async fn finish(mut self, hook: &HookSettings) -> Result<String, String> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let in_time = {
            let reading = async { tokio::join!(drain(stdout, &mut out), drain(stderr, &mut err)) };
            tokio::pin!(reading);
            let ended = self.ended(Duration::from_secs(hook.limit_seconds));
            let mut all_said = false;
            tokio::pin!(ended);
            let in_time = loop {
                tokio::select! {
                    in_time = &mut ended => break in_time,
                    _ = &mut reading, if !all_said => all_said = true,
                }
            };
            self.signal(Signal::SIGKILL);
            if !all_said {
                // What it said last may still be in the pipes.
                drop(timeout(LAST_WORDS, &mut reading).await);
            }
            in_time
        };
        let status = self.child.wait().await;
        let said = if err.is_empty() { &out } else { &err };
        let said = printable::last_line(&String::from_utf8_lossy(said), 300);
        match status {
            _ if !in_time => {
                let limit = printable::count(hook.limit_seconds, "second", "seconds");
                Err(format!("did not end within {limit} and was ended: {said}"))
            }
            Ok(status) if status.success() => Ok(format!("ended with exit code 0: {said}")),
            Ok(status) => Err(match (status.code(), signal_of(status)) {
                (Some(code), _) => format!("ended with exit code {code}: {said}"),
                (_, number) => format!("was ended by signal {}: {said}", number.unwrap_or(0)),
            }),
            Err(error) => Err(format!("its end was not seen: {error}")),
        }
    }

    /// Waits for the leader's end, and asks for it when the time is over; whether it ended by itself.
    async fn ended(&self, limit: Duration) -> bool {
        let group = self.group;
        let mut gone = tokio::task::spawn_blocking(move || {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(group), flags) == Err(nix::Error::EINTR) {}
        });
        if timeout(limit, &mut gone).await.is_ok() {
            return true;
        }
        self.signal(Signal::SIGTERM);
        if timeout(GRACE, &mut gone).await.is_err() {
            self.signal(Signal::SIGKILL);
            drop(gone.await);
        }
        false
    }
}

fn signal_of(status: std::process::ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

/// Reads to the end and keeps the last bytes.
async fn drain(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        let over = kept.len().saturating_sub(MOST_SAID);
        kept.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn facts() -> HookFacts {
        HookFacts {
            job: "vol-1".into(),
            volume: "vol-1".into(),
            node: "/dev/xvdf".into(),
            point: "/dev/sdf".into(),
            case: "{job} $(id)".into(),
            verdict: "partial".into(),
            folder: "/srv/x".into(),
            sketch: "https://t/sketch/1/".into(),
        }
    }

    /// A hook that runs as somebody that these tests may be.
    fn hook(run: &[&str]) -> HookSettings {
        let us = nix::unistd::geteuid();
        let user = match us.is_root() {
            true => "nobody".into(),
            false => User::from_uid(us).unwrap().unwrap().name,
        };
        HookSettings {
            run: run.iter().map(|word| (*word).to_owned()).collect(),
            user,
            limit_seconds: 20,
            ..HookSettings::default()
        }
    }

    fn run_now(hook: &HookSettings, facts: &HookFacts) -> HookRecord {
        runtime().block_on(run("test", hook, facts))
    }

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    }

    fn shell(text: &str) -> HookRecord {
        run_now(&hook(&["/bin/sh", "-c", text]), &facts())
    }

    #[test]
    fn placeholders_are_filled_in_once_and_unknown_ones_stay() {
        let facts = facts();
        assert_eq!(facts.fill("--x={volume}:{verdict}"), "--x=vol-1:partial");
        assert_eq!(facts.fill("{case}"), "{job} $(id)");
        assert_eq!(facts.fill("{sketch}"), "https://t/sketch/1/");
        for same in ["{", "}", "{}", "{jobs}", "{job", "{ job}", "ü{"] {
            assert_eq!(facts.fill(same), same);
        }
        assert_eq!(facts.fill("{{job}}"), "{vol-1}");
    }

    #[test]
    fn arguments_reach_the_program_without_a_shell_in_between() {
        let record = run_now(&hook(&["/bin/echo", "{case}", "a b;c"]), &facts());
        assert!(record.ok);
        assert_eq!(record.outcome, "ended with exit code 0: {job} $(id) a b;c");
    }

    #[test]
    fn the_environment_holds_the_facts_and_nothing_of_ours() {
        let record = run_now(&hook(&["/usr/bin/env", "-0"]), &facts());
        let mut names: Vec<&str> = record
            .outcome
            .split_once(": ")
            .unwrap()
            .1
            .split("\\u{0}")
            .filter_map(|one| one.split_once('=').map(|(name, _)| name))
            .collect();
        names.sort_unstable();
        let mut expected: Vec<&str> = facts().named().map(|(_, name, _)| name).to_vec();
        expected.push("PATH");
        expected.sort_unstable();
        assert_eq!(names, expected, "{}", record.outcome);
    }

    #[test]
    fn it_runs_as_its_own_user_without_groups_in_the_root_folder_without_input() {
        let record = shell("cat; echo $(id -u) $(id -G) $(pwd)");
        let user = User::from_name(&hook(&[]).user).unwrap().unwrap();
        if nix::unistd::geteuid().is_root() {
            let expected = format!("{} {} /", user.uid, user.gid);
            assert_eq!(
                record.outcome,
                format!("ended with exit code 0: {expected}")
            );
        }
    }

    #[test]
    fn a_failure_says_its_code_and_last_line_printably() {
        let record = shell("echo out; printf 'first\\n\\033[31mwrong\\n' >&2; exit 3");
        assert!(!record.ok);
        assert_eq!(record.outcome, r"ended with exit code 3: \u{1b}[31mwrong");
        assert_eq!(
            shell("kill -9 $$").outcome,
            "was ended by signal 9: it said nothing"
        );
    }

    #[test]
    fn what_cannot_be_started_is_a_sentence() {
        let missing = run_now(&hook(&["/no/such/program"]), &facts());
        assert!(
            missing
                .outcome
                .contains("/no/such/program cannot be started as")
        );
        let stranger = HookSettings {
            user: "no-such-account".into(),
            ..hook(&["/bin/true"])
        };
        let stranger = run_now(&stranger, &facts());
        assert!(
            stranger
                .outcome
                .contains("there is no account \"no-such-account\"")
        );
        let nul = HookFacts {
            case: "a\0b".into(),
            ..facts()
        };
        let nul = run_now(&hook(&["/bin/true"]), &nul);
        assert_eq!(
            nul.outcome,
            "was not started: its case holds a NUL character"
        );
        assert!(!missing.ok && !stranger.ok && !nul.ok);
    }

    #[test]
    fn more_output_than_is_kept_blocks_nobody() {
        let record = shell("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end");
        assert_eq!(record.outcome, "ended with exit code 0: the end");
    }

    /// A pipe in a folder that everybody may use; its reader sees the end once no process holds it.
    fn pipe() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&path, open).unwrap();
        let name = path.to_str().unwrap().to_owned();
        (folder, name)
    }

    /// Reads a line, then to the end, on a thread of its own.
    fn reader(
        path: &str,
    ) -> (
        std::sync::mpsc::Receiver<String>,
        std::thread::JoinHandle<()>,
    ) {
        let path = Path::new(path).to_owned();
        let (send, receive) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            use std::io::{BufRead, BufReader, Read};
            let mut file = BufReader::new(std::fs::File::open(path).unwrap());
            let mut text = String::new();
            file.read_line(&mut text).unwrap();
            send.send(text.clone()).unwrap();
            file.read_to_string(&mut text).unwrap();
        });
        (receive, thread)
    }

    #[test]
    fn at_the_time_limit_the_whole_group_is_gone_even_if_it_does_not_listen() {
        let (_folder, path) = pipe();
        let (said, thread) = reader(&path);
        let text = format!(
            "exec 3>{path}; trap '' TERM; echo here >&3; (while :; do sleep 9; done) & while :; do wait; done"
        );
        let limited = HookSettings {
            limit_seconds: 1,
            ..hook(&["/bin/sh", "-c", &text])
        };
        let record = run_now(&limited, &facts());
        assert!(!record.ok);
        assert!(
            record
                .outcome
                .starts_with("did not end within 1 second and was ended"),
            "{}",
            record.outcome
        );
        assert_eq!(said.recv().unwrap(), "here\n");
        thread.join().unwrap();
    }

    #[test]
    fn what_a_hook_leaves_behind_ends_with_it() {
        let (_folder, path) = pipe();
        let (said, thread) = reader(&path);
        let text = format!("exec 3>{path}; echo here >&3; sleep 1000 & exit 0");
        let record = shell(&text);
        assert!(record.ok, "{}", record.outcome);
        assert_eq!(said.recv().unwrap(), "here\n");
        thread.join().unwrap();
    }

    #[test]
    fn dropping_the_future_kills_the_group() {
        let (_folder, path) = pipe();
        let (said, thread) = reader(&path);
        let text = format!("exec 3>{path}; echo here >&3; sleep 1000 & sleep 1000");
        let hook = hook(&["/bin/sh", "-c", &text]);
        let facts = facts();
        runtime().block_on(async {
            let heard = tokio::task::spawn_blocking(move || said.recv().unwrap());
            tokio::select! {
                record = run("test", &hook, &facts) => panic!("{record:?}"),
                line = heard => assert_eq!(line.unwrap(), "here\n"),
            }
        });
        thread.join().unwrap();
    }
}
