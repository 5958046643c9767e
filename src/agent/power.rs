//! Switching the machine off when nothing is left to do.
use super::Agent;
use std::time::Instant;
impl Agent {
    pub(super) fn power(&mut self) {}
    pub(super) fn power_off_at(&self) -> Option<Instant> {
        None
    }
    pub(super) fn power_off_wall(&self) -> Option<String> {
        None
    }
}
