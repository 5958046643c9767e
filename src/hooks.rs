//! Stub.
use crate::config::worker::HookSettings;
use crate::dispatch::job::HookRecord;
/// Facts.
#[derive(Debug, Clone)]
pub struct HookFacts {
    /// x
    pub job: String,
    /// x
    pub volume: String,
    /// x
    pub node: String,
    /// x
    pub point: String,
    /// x
    pub case: String,
    /// x
    pub verdict: String,
    /// x
    pub folder: String,
}
/// Runs.
pub async fn run(name: &str, _hook: &HookSettings, _facts: &HookFacts) -> HookRecord {
    HookRecord {
        name: name.into(),
        ok: false,
        outcome: "stub".into(),
    }
}
