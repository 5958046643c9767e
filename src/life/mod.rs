//! The agent's life under a service manager: what it tells it, its watchdog, its configuration's changes, and
//! when the machine may be switched off.
//!
//! Everything here works the same, and does less, without systemd. What is done about a job is decided elsewhere.

pub mod folder;
pub mod notify;
pub mod power;
pub mod reload;
pub mod watchdog;
