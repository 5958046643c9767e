//! dfagent: from an attached disk to one searchable timeline.
//!
//! ARCHITECTURE.md tells what stands where and why. In short: [`evidence`] opens and proves, [`census`] and
//! [`plaso`] decide, [`inside`] reads hostile bytes in the [`cage`], [`engine`] joins them, [`cli`] talks.

pub mod agent;
pub mod cage;
pub mod census;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod device;
pub mod dispatch;
pub mod durable;
pub mod ec2;
pub mod engine;
pub mod evidence;
pub mod export;
pub mod hooks;
pub mod http;
pub mod inside;
pub mod job;
pub mod ledger;
pub mod life;
pub mod manifest;
pub mod metrics;
pub mod opensearch;
pub mod plaso;
pub mod policy;
pub mod printable;
pub mod report;
pub mod secret;
pub mod status;
pub mod sys;
pub mod telemetry;
pub mod timesketch;
