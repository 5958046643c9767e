//! What the service manager is told. Without one nothing is done.
//!
//! The manager's socket stays in our own environment. Programs that we start get an environment of their own, so
//! none of them can speak in our name.

use std::io;

use sd_notify::NotifyState;

use crate::printable;

/// How long a status text may be, in characters.
const MOST: usize = 200;

/// Tells the service manager how things are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notifier;

impl Notifier {
    /// The agent is ready, first or again after a reload; `text` is what it does.
    pub fn ready(self, text: &str) {
        let text = printable::line(text, MOST);
        self.tell(&[NotifyState::Ready, NotifyState::Status(&text)]);
    }

    /// What the agent does now.
    pub fn status(self, text: &str) {
        let text = printable::line(text, MOST);
        self.tell(&[NotifyState::Status(&text)]);
    }

    /// It reads its configuration anew; [`Self::ready`] ends that. The time lets the manager tell which request
    /// for a reload this answers (`Type=notify-reload`).
    pub fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => complain(&error),
        }
    }

    /// It stops in order.
    pub fn stopping(self, text: &str) {
        let text = printable::line(text, MOST);
        self.tell(&[NotifyState::Stopping, NotifyState::Status(&text)]);
    }

    /// It gets on; see [`super::watchdog`].
    pub fn alive(self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    fn tell(self, what: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(what) {
            complain(&error);
        }
    }
}

/// The manager notices by itself when it hears nothing, so this is no reason to stop.
fn complain(error: &io::Error) {
    tracing::warn!("the service manager cannot be told how things are: {error}");
}
