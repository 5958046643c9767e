//! `dfagent deliver`: the process that has the network and the secrets, and nothing else (see [`serve`]); and, with
//! `--once`, a delivery of what `process` left.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tokio::sync::{mpsc, watch};

use super::args::DeliverArgs;
use super::exit::Exit;
use super::foreground::{self, Foreground, Wanted};
use super::process::{listen, print_line};
use super::progress;
use super::serve::{self, Start};
use crate::config::Settings;
use crate::delivery::account;
use crate::delivery::custody::{DeliveryProof, PROOF};
use crate::delivery::fill;
use crate::delivery::order::How;
use crate::durable;
use crate::manifest::Manifest;

const MOST_MANIFEST: u64 = 256 * 1024 * 1024;

pub(super) fn run(args: &DeliverArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    account::keep_memory_private().context("keep secrets out of cores")?;
    let wanted = Wanted {
        to: args.to.as_deref(),
        sketch: args.sketch.as_deref(),
        streaming: Some(&args.streaming),
    };
    let Some(folder) = &args.once else {
        return serve::serve(&Start { config, wanted });
    };
    let mut settings = Settings::load(config)?;
    foreground::set_servers(&mut settings, &wanted)?;
    once(args, settings, folder)
}

/// Delivers the jobs of a folder.
fn once(args: &DeliverArgs, settings: Settings, folder: &Path) -> anyhow::Result<Exit> {
    let folder = std::fs::canonicalize(folder)
        .with_context(|| format!("find the folder {}", folder.display()))?;
    let (jobs, manifests) = find_jobs(&folder)?;
    super::runtime().context("start")?.block_on(async {
        let (show, heard) = mpsc::unbounded_channel();
        let (stop_now, stop) = watch::channel(false);
        let delivery = Foreground::set_up(settings, &jobs, show, stop)?;
        let shown = tokio::spawn(progress::show(heard, args.json));
        let signals = tokio::spawn(listen(stop_now));
        let mut before = Vec::new();
        for manifest in &manifests {
            match delivery.delivered_before(&manifest.job, &manifest.started) {
                Some(record) => before.push(record),
                None => hand_over(&delivery, &jobs, manifest)?,
            }
        }
        let (_done, finish) = watch::channel(true);
        let given_up = delivery.run(finish).await;
        signals.abort();
        let mut ends = Vec::new();
        for manifest in &manifests {
            let known = before
                .iter()
                .find(|record| record.job == manifest.job)
                .cloned();
            // A kill may have come between the record of a delivery and the clearing up behind it.
            let settled = delivery.settle(&manifest.job)?;
            ends.push((manifest.job.clone(), settled.or(known)));
        }
        drop(delivery);
        drop(shown.await);
        report(args, &ends, &given_up?)
    })
}

/// The folder of the jobs and the manifests in it: the given folder is a job's, or holds those of several.
fn find_jobs(folder: &Path) -> anyhow::Result<(PathBuf, Vec<Manifest>)> {
    let manifest = |folder: &Path| {
        durable::read_json::<Manifest>(&folder.join("manifest.json"), MOST_MANIFEST)
    };
    if let Some(manifest) = manifest(folder)? {
        let jobs = folder.parent().unwrap_or(Path::new("/")).to_owned();
        return Ok((jobs, vec![manifest]));
    }
    let mut manifests = Vec::new();
    for entry in std::fs::read_dir(folder)
        .context("list the folder")?
        .flatten()
    {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            manifests.extend(manifest(&entry.path())?);
        }
    }
    if manifests.is_empty() {
        bail!(
            "find a finished job in {}: neither it nor a folder in it has a manifest.json; is it the folder that \
             `dfagent process` was given?",
            folder.display()
        );
    }
    manifests.sort_by(|one, other| one.job.cmp(&other.job));
    Ok((folder.to_owned(), manifests))
}

/// Hands a job over whose storage files are what the manifest says they are.
fn hand_over(delivery: &Foreground, jobs: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let folder = jobs.join(&manifest.job);
    if !folder.join("manifest.json").exists() {
        bail!(
            "deliver {}: its folder has to be called so, as `dfagent process` called it",
            manifest.job
        );
    }
    for file in manifest.slices.iter().flat_map(|slice| &slice.files) {
        let path = folder.join(&file.path);
        if path.extension().is_some_and(|ending| ending == "plaso") {
            let (sha256, _) = durable::hash_file(&path)?;
            if sha256 != file.sha256 {
                bail!(
                    "deliver {}: it is not the file that the manifest names (another SHA-256)",
                    path.display()
                );
            }
        }
    }
    let Some(order) = fill::close(&delivery.outbox, &folder, manifest)? else {
        return Ok(());
    };
    let way = delivery.outbox.way();
    if order.way.how != way.how {
        bail!(
            "deliver {}: it was begun by the other way ({}); go on so, or remove {} to begin anew",
            manifest.job,
            match order.way.how {
                How::Upload => "without --stream",
                How::Stream => "with --stream",
            },
            delivery
                .outbox
                .orders_folder()
                .join(&manifest.job)
                .display()
        );
    }
    if DeliveryProof::read(&folder)?.is_some_and(|record| record.run == order.run) {
        // It was tried before, to its end: what is not proven is tried once more.
        fill::again(&delivery.outbox, order)?;
        durable::remove_file(&folder.join(PROOF))?;
    }
    Ok(())
}

fn report(
    args: &DeliverArgs,
    ends: &[(String, Option<DeliveryProof>)],
    given_up: &[String],
) -> anyhow::Result<Exit> {
    let records: Vec<&DeliveryProof> = ends
        .iter()
        .filter_map(|(_, record)| record.as_ref())
        .collect();
    if args.json {
        print_line(&serde_json::to_string_pretty(&records).context("write the result")?)?;
    } else {
        for record in &records {
            print_line(&format!("{}\n{}\n", record.job, foreground::render(record)))?;
        }
    }
    for sentence in given_up {
        eprintln!("dfagent: failed to {sentence}");
    }
    let codes = ends
        .iter()
        .map(|(_, record)| foreground::exit_for(Exit::Complete, record.as_ref(), given_up));
    Ok(foreground::worst(codes))
}
