//! Showing a job's progress: a bar on a terminal, plain lines elsewhere. Everything goes to standard error.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::engine::Progress;
use crate::printable::{size, time};

/// What is shown.
#[derive(Debug)]
pub(super) enum Shown {
    /// How a job gets on.
    Job(Progress),
    /// A line about its delivery.
    Delivery(String),
}

/// Shows what is heard until the other side is gone.
pub(super) async fn show(mut heard: UnboundedReceiver<Shown>, plain: bool) {
    let mut view: Box<dyn View + Send> = if std::io::stderr().is_terminal() && !plain {
        Box::new(Bar::new())
    } else {
        Box::new(Lines {
            started: Instant::now(),
        })
    };
    while let Some(shown) = heard.recv().await {
        match shown {
            Shown::Job(progress) => view.take(&progress),
            Shown::Delivery(line) => view.say(&line),
        }
    }
    view.end();
}

trait View {
    fn take(&mut self, progress: &Progress);
    fn say(&mut self, line: &str);
    fn end(&mut self);
}

/// What is worth a line, without colour and without cursor movement.
fn line(progress: &Progress) -> Option<String> {
    Some(match progress {
        Progress::Stage(text) => text.clone(),
        Progress::Unread(text) => format!("not read: {text}"),
        Progress::Planned {
            slices,
            bytes,
            done,
            ..
        } => {
            let before = if *done > 0 {
                format!(", {done} done before")
            } else {
                String::new()
            };
            format!("{slices} slices, {} to read{before}", size(*bytes))
        }
        Progress::SliceDone {
            name,
            documents,
            level,
            ..
        } => {
            format!("slice {name}: {documents} events, {level}")
        }
        Progress::SliceStalled { name, file } => {
            format!("slice {name}: Plaso hung on {file}, which is left out")
        }
        Progress::Alive
        | Progress::PlanMade
        | Progress::SliceStarted { .. }
        | Progress::SliceTick { .. } => return None,
    })
}

struct Lines {
    started: Instant,
}

impl View for Lines {
    fn take(&mut self, progress: &Progress) {
        if let Some(text) = line(progress) {
            self.say(&text);
        }
    }

    fn say(&mut self, line: &str) {
        eprintln!("{:6.1} s  {line}", self.started.elapsed().as_secs_f64());
    }

    fn end(&mut self) {}
}

struct Bar {
    bar: ProgressBar,
    slices: usize,
    done: usize,
    documents: u64,
    /// Events of the slices at work.
    running: BTreeMap<String, u64>,
    started: Instant,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        restyle(&bar, "{spinner}");
        bar.enable_steady_tick(Duration::from_millis(500));
        let started = Instant::now();
        Self {
            bar,
            slices: 0,
            done: 0,
            documents: 0,
            running: BTreeMap::new(),
            started,
        }
    }

    fn message(&self) -> String {
        let events = self.documents + self.running.values().sum::<u64>();
        let seconds = self.started.elapsed().as_secs_f64().max(0.1);
        let rate = events as f64 / seconds;
        let left = match (self.bar.position(), self.bar.length()) {
            (done, Some(total)) if done > 0 && total > done => {
                format!(
                    "  about {} left",
                    time(seconds * (total - done) as f64 / done as f64)
                )
            }
            _ => String::new(),
        };
        format!(
            "slice {}/{}  {events} events  {rate:.0}/s{left}",
            self.done, self.slices
        )
    }
}

impl View for Bar {
    fn take(&mut self, progress: &Progress) {
        match progress {
            Progress::Planned {
                slices,
                bytes,
                done,
                bytes_done,
            } => {
                (self.slices, self.done, self.started) = (*slices, *done, Instant::now());
                restyle(&self.bar, "{bar:24} {bytes}/{total_bytes}  {msg}");
                self.bar.set_length(*bytes);
                self.bar.set_position(*bytes_done);
            }
            Progress::SliceTick { name, events, .. } => {
                self.running.insert(name.clone(), *events);
            }
            Progress::SliceDone {
                name,
                documents,
                bytes,
                ..
            } => {
                self.running.remove(name);
                self.done += 1;
                self.documents += documents;
                self.bar.inc(*bytes);
            }
            _ => {}
        }
        if let Some(text) = line(progress) {
            self.bar.println(text);
        }
        self.bar.set_message(self.message());
    }

    fn say(&mut self, line: &str) {
        self.bar.println(line);
    }

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// There is nothing to fill before the plan says how much there is.
fn restyle(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}
