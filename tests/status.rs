//! The status socket as it is met by those who ask, those who may not, and those who mean harm: the real server
//! with an example of a status, and the real commands.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

#[path = "status/abuse.rs"]
mod abuse;
#[path = "status/commands.rs"]
mod commands;
mod lab;
#[path = "status/world.rs"]
mod world;

use std::fs;

use lab::trial;
use libtest_mimic::Failed;

fn main() {
    let mut trials = vec![trial(
        "the_schema_of_the_status_is_the_checked_in_one_and_fits",
        &[],
        schema,
    )];
    trials.extend(abuse::trials());
    trials.extend(commands::trials());
    lab::run(trials);
}

fn schema() -> Result<(), Failed> {
    let schema = schemars::schema_for!(dfagent::status::Status);
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    let file = lab::root().join("docs/schema/status-1.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        dfagent::durable::write(&file, text.as_bytes())?;
    }
    assert!(
        fs::read_to_string(&file).unwrap_or_default() == text,
        "docs/schema/status-1.json is not what the program's types say. If a released layout changed, it needs \
         a new number; else regenerate with `UPDATE_SCHEMA=1 cargo test --test status`"
    );
    let validator = jsonschema::validator_for(&serde_json::to_value(&schema)?).unwrap();
    let example = serde_json::to_value(world::status())?;
    let errors: Vec<String> = validator
        .iter_errors(&example)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    Ok(())
}
