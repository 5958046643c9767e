//! Stub.
use std::time::{Duration, Instant};
/// N
#[derive(Debug)]
pub struct Notifier;
impl Notifier {
    /// x
    pub fn from_environment() -> Self {
        Self
    }
    /// x
    pub fn ready(&self) {
        drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
    }
    /// x
    pub fn reloading(&self) {}
    /// x
    pub fn stopping(&self) {}
    /// x
    pub fn status(&self, _t: &str) {}
    /// x
    pub fn watchdog(&self) -> Option<Duration> {
        None
    }
    /// x
    pub fn watchdog_fed(&self) {}
}
/// W
#[derive(Debug)]
pub struct Watchdog;
impl Watchdog {
    /// x
    pub fn new(_every: Option<Duration>, _now: Instant) -> Self {
        Self
    }
    /// x
    pub fn progress(&mut self, _now: Instant) {}
    /// x
    pub fn due(&self, _now: Instant) -> bool {
        false
    }
    /// x
    pub fn fed(&mut self, _now: Instant) {}
}
/// R
pub mod reload {
    /// x
    pub fn watch(_folders: Vec<std::path::PathBuf>) -> tokio::sync::mpsc::Receiver<()> {
        let (tx, rx) = tokio::sync::mpsc::channel(1);
        std::mem::forget(tx);
        rx
    }
}
