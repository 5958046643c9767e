//! A job that is delivered: the trial plays delivery and writes its receipts, true and false ones, into the folder.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dfagent::delivery::account::Account;
use dfagent::delivery::custody::DeliveryProof;
use dfagent::delivery::order::{HandedSlice, Order};
use dfagent::delivery::outbox::Outbox;
use dfagent::delivery::receipt::{self, Link, Receipt, SliceReceipt, Stage, Standing};
use dfagent::dispatch::job::{Job, State};
use dfagent::ledger::Ledger;
use dfagent::plaso::verdict::Level;
use dfagent::status::{Action, JobStatus};
use libtest_mimic::{Failed, Trial};
use nix::fcntl::Flock;
use nix::unistd::Group;

use crate::crashes::ends_or_is_done;
use crate::daemon::{Agent, find};
use crate::disks::{Disk, LazyDisk};
use crate::lab::{Finished, Need, finish, tool, trial};
use crate::needs;
use crate::scene::{Scene, mark_of};

/// Delivery's account and, in one trial, the readers' group: both are on every machine.
pub const ACCOUNT: &str = "nobody";
const READERS: &str = "games";

const SKETCH: &str = "https://timesketch.example.org/sketch/17/";

/// Escape codes, a line of its own, a change of direction.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\u{202e}x";

pub fn trials(two: &LazyDisk) -> Vec<Trial> {
    let needs = needs();
    let mut others = needs.clone();
    others.push(Need::Program("setpriv"));
    let mut traced = needs.clone();
    traced.push(Need::Program("strace"));
    let group = Group::from_name(READERS).ok().flatten().is_some();
    others.push(Need::Other(group, "a group called games"));
    let made = |name: &str, needs: &[Need], test: fn(&Disk) -> Result<(), Failed>| {
        let disk = two.clone();
        trial(name, needs, move || test(disk.get()))
    };
    vec![
        made(
            "a_job_is_done_only_when_its_receipt_proves_it_also_when_the_agent_is_killed",
            &needs,
            proven,
        ),
        made(
            "killed_at_a_durable_step_while_a_proof_is_taken_in_the_agent_ends_the_same",
            &traced,
            killed,
        ),
        made(
            "what_fell_short_is_delivered_again_without_extracting_it_again",
            &needs,
            short,
        ),
        made(
            "jobs_are_held_while_nothing_can_be_delivered_and_a_cancelled_one_is_taken_back",
            &needs,
            held,
        ),
        made(
            "delivery_sees_its_orders_and_nothing_else_and_readers_see_the_ledger",
            &others,
            rights,
        ),
    ]
}

/// Delivery, played.
pub struct Delivery {
    pub outbox: Outbox,
    _lock: Flock<File>,
}

impl Delivery {
    /// Says that it runs and that the server would take what is made.
    pub fn start(scene: &Scene) -> Self {
        let outbox = outbox(scene);
        let lock = outbox.serve().unwrap().expect("nobody else delivers here");
        let standing = Standing {
            schema: receipt::SCHEMA.into(),
            ready: Some(true),
            ..Standing::default()
        };
        outbox.keep_standing(&standing).unwrap();
        Self {
            outbox,
            _lock: lock,
        }
    }

    pub fn order(&self, id: &str) -> Order {
        self.outbox.order(id).unwrap().expect("there is an order")
    }

    /// What is true of a job whose slices are all at this stage, with so many events missing in each.
    pub fn receipt(&self, id: &str, stage: Stage, missing: u64) -> Receipt {
        let order = self.order(id);
        let slice = |handed: HandedSlice| SliceReceipt {
            name: handed.name,
            sha256: handed.sha256,
            stage,
            bytes: handed.bytes,
            sent: handed.bytes,
            expected: handed.documents,
            found: Some(handed.documents - missing),
            tries: 1,
            ..SliceReceipt::default()
        };
        Receipt {
            schema: receipt::SCHEMA.into(),
            job: id.into(),
            run: order.run,
            again: order.again,
            at: "2026-11-25T00:00:00Z".into(),
            sketch: Some(Link {
                id: 17,
                name: "4711".into(),
                url: SKETCH.into(),
            }),
            slices: self
                .outbox
                .slices(id)
                .unwrap()
                .into_iter()
                .map(slice)
                .collect(),
            ..Receipt::default()
        }
    }

    pub fn say(&self, receipt: &Receipt) {
        self.outbox.keep_receipt(receipt).unwrap();
    }
}

fn outbox(scene: &Scene) -> Outbox {
    Outbox::at(scene.directory(), Some(Account::named(ACCOUNT)))
}

/// An agent that delivers; more keys of `[delivery]`, and more tables.
fn configure(scene: &Scene, keys: &str, tables: &str) {
    let more = format!(
        "case = \"4711\"\n[delivery]\nto = \"upload\"\nuser = \"{ACCOUNT}\"\n{keys}\n\
         [timesketch]\nurl = \"https://timesketch.example.org\"\n{tables}"
    );
    scene.configure(&scene.loops.nodes(), &more);
}

fn storage(folder: &Path, slice: &str) -> PathBuf {
    folder.join("slices").join(slice).join("storage.plaso")
}

/// Waits until the agent has read the receipt that says this; the job is still on its way then.
fn wait_read(agent: &Agent, id: &str, said: &str) -> JobStatus {
    let job = agent.wait(&format!("the receipt is read: {said}"), |status| {
        let job = find(status, id)?;
        let waits = job.delivery.as_ref()?.waits.as_ref()?;
        waits.contains(said).then(|| job.clone())
    });
    assert_eq!(job.job.state.name(), "delivering");
    assert!(job.job.hooks_done.is_empty());
    job
}

fn proven(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    let hook = "[hook.note]\nrun = [\"/bin/echo\", \"{sketch}\", \"{verdict}\"]\n";
    configure(&scene, "", hook);
    let agent = scene.start();
    agent.wait("it is told that delivery does not run", |status| {
        let mut tasks = status.needs_operator.iter();
        let command = "systemctl start dfagent-delivery";
        tasks.find(|task| task.command == command).map(drop)
    });
    let delivery = Delivery::start(&scene);
    agent.wait("delivery is seen", |status| {
        let server = status.agent.delivery.as_ref()?;
        (server.running && server.ready == Some(true)).then_some(())
    });
    let id = agent.wait_job();
    agent.wait_for(&id, "delivering");
    hostile(&agent, &delivery, &scene, &id);

    // The agent is killed before the proof is there; the next one finds it when it starts.
    agent.kill();
    delivery.say(&delivery.receipt(&id, Stage::Proven, 0));
    let agent = scene.start();
    let job = agent.wait("the hook has run", |status| {
        let job = find(status, &id)?;
        (job.job.hooks_done.len() == 1).then(|| job.job.clone())
    });
    let level = Level::Complete;
    assert_eq!(job.state, State::Done { verdict: level });
    let said = &job.hooks_done[0].outcome;
    assert!(said.ends_with(&format!("{SKETCH} complete")), "{said}");
    let told = job.delivery.unwrap();
    let documents = u64::try_from(disk.documents.len())?;
    assert_eq!((told.level, told.documents), (Some(level), documents));
    let proof = DeliveryProof::read(&job.folder)?.unwrap();
    assert_eq!((proof.level, proof.slices.len()), (Some(level), disk.logs));
    assert_eq!(delivery.outbox.jobs()?, Vec::<String>::new());
    assert!(storage(&job.folder, &proof.slices[0].receipt.name).exists());
    let verified = verify(&agent, &job.folder);
    assert_eq!(verified.code, 0, "{}", verified.out);
    let log = agent.log_text();
    assert!(
        !log.contains('\u{1b}') && log.contains("delivered: "),
        "{log}"
    );
    Ok(())
}

/// Receipts that are false, damaged, or no files.
fn hostile(agent: &Agent, delivery: &Delivery, scene: &Scene, id: &str) {
    let mut other = delivery.receipt(id, Stage::Proven, 0);
    other
        .slices
        .iter_mut()
        .for_each(|one| one.sha256 = "0".repeat(64));
    other.waits = Some("another file".into());
    delivery.say(&other);
    let told = wait_read(agent, id, "another file").delivery.unwrap();
    assert_eq!((told.slices_proven, told.bytes_sent), (0, 0), "{told:?}");

    let mut large = delivery.receipt(id, Stage::Proven, 0);
    for one in &mut large.slices {
        (one.sent, one.bytes, one.found) = (u64::MAX, u64::MAX, Some(u64::MAX));
        one.stage = Stage::Indexing;
        one.error = Some(EVIL.repeat(1000));
        one.timeline = large.sketch.clone();
    }
    let sketch = large.sketch.as_mut().unwrap();
    (sketch.url, sketch.name) = (format!("https://x/{EVIL}"), EVIL.into());
    large.needs = Some(EVIL.into());
    large.waits = Some(format!("too much {EVIL}"));
    delivery.say(&large);
    let told = wait_read(agent, id, "too much").delivery.unwrap();
    assert_eq!((told.bytes_sent, told.sketch), (told.bytes, None));
    for words in [&["status"][..], &["status", "--json"]] {
        let shown = agent.command(words).out;
        let odd = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!shown.contains(odd) && !shown.contains("u001b"), "{shown}");
    }

    let place = scene
        .directory()
        .join("receipts")
        .join(format!("{id}.json"));
    let beside = place.with_extension("beside");
    fs::write(&beside, "{").unwrap();
    fs::rename(&beside, &place).unwrap();
    wait_read(agent, id, "understand");
    fs::write(&beside, vec![b' '; 5 << 20]).unwrap();
    fs::rename(&beside, &place).unwrap();
    wait_read(agent, id, "larger than");
    nix::unistd::mkfifo(&beside, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::rename(&beside, &place).unwrap();
    wait_read(agent, id, "not a plain file");
}

/// The proof is there when the agent is started, and it is killed at the n-th time that it makes something durable, for
/// every n. What is kept of the time before is put back for the next one.
fn killed(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    configure(&scene, "keep = false", "");
    let agent = scene.start();
    let id = agent.wait_job();
    agent.wait_for(&id, "delivering");
    assert!(agent.stop().0.success());
    let delivery = Delivery::start(&scene);
    delivery.say(&delivery.receipt(&id, Stage::Proven, 0));
    drop(delivery);
    let (agent_s, before) = (scene.directory().to_owned(), scene.at("before"));
    copy_all(&agent_s, &before);
    let mut kills = 0;
    for step in 1.. {
        let inject = format!("inject=fsync,fdatasync:signal=KILL:when={step}");
        let trace = [
            "-e",
            "trace=fsync,fdatasync",
            "-e",
            &inject,
            "-o",
            "/dev/null",
        ];
        let came_through = ends_or_is_done(scene.start_traced(&trace));
        let agent = scene.start();
        let job = agent.wait_for(&id, "done").job;
        let level = job.delivery.and_then(|delivery| delivery.level);
        assert_eq!(
            (level, job.starts),
            (Some(Level::Complete), 1),
            "step {step}"
        );
        assert_eq!(outbox(&scene).jobs()?, Vec::<String>::new(), "step {step}");
        for slice in DeliveryProof::read(&job.folder)?.unwrap().slices {
            assert!(
                !storage(&job.folder, &slice.receipt.name).exists(),
                "step {step}"
            );
        }
        assert!(agent.stop().0.success());
        if came_through {
            break;
        }
        kills += 1;
        scene.forget();
        copy_all(&before, &agent_s);
    }
    eprintln!("killed at {kills} steps");
    assert!(kills >= 10, "{kills} kills");
    Ok(())
}

/// With second names of files as such.
fn copy_all(from: &Path, to: &Path) {
    tool("cp", &["-a", from.to_str().unwrap(), to.to_str().unwrap()]);
}

fn verify(agent: &Agent, folder: &Path) -> Finished {
    let manifest = folder.join("manifest.json");
    agent.command(&["verify", manifest.to_str().unwrap()])
}

fn short(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    let metrics = scene.at("metrics.prom");
    let table = format!("[metrics]\nfile = {metrics:?}\n");
    configure(&scene, "keep = false", &table);
    let agent = scene.start();
    let delivery = Delivery::start(&scene);
    let id = agent.wait_job();
    agent.wait_for(&id, "delivering");
    let mut first = delivery.receipt(&id, Stage::Proven, 0);
    (first.slices[1].stage, first.slices[1].found) = (Stage::Short, Some(3));
    delivery.say(&first);
    let job = agent.wait_for(&id, "done").job;
    let names: Vec<String> = first.slices.iter().map(|one| one.name.clone()).collect();
    let kept = storage(&job.folder, &names[1]);
    assert!(kept.exists() && storage(&job.folder, &names[0]).exists());
    agent.wait("somebody is told", |status| {
        let mut tasks = status.needs_operator.iter();
        let task = tasks.find(|task| task.command == format!("dfagent retry {id}"))?;
        let both = format!("3 of {} events", first.slices[1].expected);
        assert!(task.why.contains(&both), "{}", task.why);
        Some(())
    });
    let manifest = mark_of(&job.folder.join("manifest.json"));

    agent.act(Action::Retry { anew: false }, &id).unwrap();
    agent.wait_for(&id, "delivering");
    assert_eq!(delivery.order(&id).again, 1);
    // The receipt that is still there is about the time before.
    let mut read = delivery.receipt(&id, Stage::Indexing, 0);
    read.waits = Some("for the server".into());
    delivery.say(&read);
    wait_read(&agent, &id, "for the server");
    delivery.say(&delivery.receipt(&id, Stage::Proven, 0));
    let job = agent.wait_for(&id, "done").job;
    assert_eq!(job.starts, 1, "nothing is extracted again");
    assert_eq!(mark_of(&job.folder.join("manifest.json")), manifest);
    assert!(!kept.exists(), "it is proven and not to be kept");
    let verified = verify(&agent, &job.folder);
    assert_eq!(verified.code, 0, "{}", verified.out);
    let gone = verified
        .out
        .lines()
        .filter(|line| line.starts_with("absent"));
    assert!(
        gone.filter(|line| line.contains(SKETCH)).count() == 2,
        "{}",
        verified.out
    );
    let counted = fs::read_to_string(&metrics)?;
    let events = format!("dfagent_events_delivered_total {}", disk.documents.len());
    assert!(counted.contains(&events), "{counted}");

    let refused = agent.act(Action::Retry { anew: false }, &id).unwrap_err();
    assert!(refused.contains("--anew"), "{refused}");
    agent.act(Action::Retry { anew: true }, &id).unwrap();
    agent.wait_for(&id, "delivering");
    let again = delivery.order(&id);
    assert_eq!((again.again, again.run != first.run), (0, true));
    Ok(())
}

fn held(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    configure(&scene, "when_unready = \"block\"", "");
    let agent = scene.start();
    let id = agent.wait_job();
    let job = agent.wait("it says what it waits for", |status| {
        let job = find(status, &id)?;
        job.waits
            .as_ref()?
            .contains("delivery is not running")
            .then(|| job.clone())
    });
    assert_eq!((job.job.state.name(), job.job.starts), ("queued", 0));
    let delivery = Delivery::start(&scene);
    agent.wait_for(&id, "delivering");
    assert!(!delivery.outbox.slices(&id)?.is_empty());
    agent.act(Action::Cancel, &id).unwrap();
    agent.wait_for(&id, "cancelled");
    assert_eq!(delivery.outbox.jobs()?, Vec::<String>::new());

    // Retried, it is handed over again; what was delivered whole before is not.
    agent.act(Action::Retry { anew: false }, &id).unwrap();
    agent.wait_for(&id, "delivering");
    let receipt = delivery.receipt(&id, Stage::Proven, 0);
    agent.stop();
    delivery.say(&receipt);
    let agent = scene.start();
    let before = agent.wait_for(&id, "done").job;
    agent.stop();
    let mut ledger = Ledger::open(&scene.ledger(), &scene.jobs())?.ledger;
    let why = "as if the agent had been killed before it wrote that down".to_owned();
    let state = State::Interrupted { why };
    let lost = Job {
        state,
        delivery: None,
        ..before.clone()
    };
    ledger.keep(&lost, "lost")?;
    drop(ledger);
    let agent = scene.start();
    let again = agent.wait_for(&id, "done").job;
    assert_eq!(
        (again.delivery, again.state),
        (before.delivery, before.state)
    );
    let (status, _) = agent.stop();
    assert_eq!(status.code(), Some(0));
    scene.assert_nothing_left();
    Ok(())
}

/// A command as somebody who is nobody, but for this group.
fn as_nobody(group: &str, program: &Path, words: &[&str]) -> Finished {
    let mut command = Command::new("setpriv");
    command
        .arg("--reuid=nobody")
        .arg(format!("--regid={group}"))
        .arg("--clear-groups")
        .arg(program)
        .args(words);
    finish(&mut command)
}

fn rights(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    configure(&scene, "", "");
    let text = fs::read_to_string(scene.config())?;
    let text = text.replace("[agent]", &format!("[agent]\nreaders = \"{READERS}\""));
    fs::write(scene.config(), text)?;
    fs::set_permissions(scene.at("."), fs::Permissions::from_mode(0o755))?;
    let agent = scene.start();
    let id = agent.wait_job();
    agent.wait_for(&id, "delivering");
    assert!(agent.stop().0.success());

    let cat = |group: &str, path: &Path| {
        as_nobody(group, Path::new("/bin/cat"), &[path.to_str().unwrap()]).code
    };
    let outbox = scene.directory().join("outbox").join(&id);
    let slice = Delivery::start(&scene).outbox.slices(&id)?.remove(0);
    assert_eq!(cat("nogroup", &outbox.join("order.json")), 0);
    assert_eq!(
        cat("nogroup", &outbox.join(slice.name).join("storage.plaso")),
        0
    );
    let note = scene.jobs().join(&id).join("volume.json");
    assert_ne!(cat("nogroup", &note), 0);
    assert_ne!(cat("nogroup", &scene.ledger()), 0);
    assert_ne!(cat("nogroup", &scene.directory().join("ledger.db.lock")), 0);
    let list = as_nobody(
        "nogroup",
        Path::new("/bin/ls"),
        &[scene.directory().to_str().unwrap()],
    );
    assert_ne!(list.code, 0, "{}", list.out);

    assert_eq!(cat(READERS, &note), 0);
    let program = scene.at("dfagent");
    fs::copy(env!("CARGO_BIN_EXE_dfagent"), &program)?;
    let config = scene.config();
    let shown = as_nobody(
        READERS,
        &program,
        &["--config", config.to_str().unwrap(), "status"],
    );
    assert_eq!(shown.code, 4, "{}{}", shown.out, shown.err);
    assert!(
        shown.out.contains(&id) && shown.out.contains("delivering"),
        "{}",
        shown.out
    );
    Ok(())
}
