//! Asks EC2 about the volumes that the agent sees: each once, and again after a failure, ever more seldom. Nobody waits
//! for it; without a role, a right or a route, volumes have no tags, and a sentence says why.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::config::ec2::Ec2Settings;
use crate::ec2::cloud::{Cloud, is_volume};
use crate::ec2::metadata::{Client, MetadataError};
use crate::ec2::role::Credentials;
use crate::ec2::volumes::{MOST, Volumes, VolumesError};
use crate::printable;

/// The pause after the first failure, and the longest.
const PAUSE: Duration = Duration::from_secs(30);
const MOST_PAUSE: Duration = Duration::from_secs(3600);

/// Why nothing is known about a volume.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Volumes(#[from] VolumesError),
    #[error(
        "ask EC2 about volumes: this instance has no role; give it one that allows ec2:DescribeVolumes, or do without volume tags"
    )]
    NoRole,
    #[error("find {volume} in EC2: there is none in this instance's region and account")]
    NotShown { volume: String },
}

/// What was asked, and when to ask again.
pub(super) struct Asking {
    role: Option<Credentials>,
    /// What was asked for last without an answer.
    missing: BTreeSet<String>,
    again: Option<Instant>,
    pause: Duration,
    trouble: Option<String>,
}

impl Asking {
    pub(super) const fn new() -> Self {
        Self {
            role: None,
            missing: BTreeSet::new(),
            again: None,
            pause: PAUSE,
            trouble: None,
        }
    }

    /// Asks about those of the wanted volumes that nothing is known of, if it is time, and puts down what is answered;
    /// others are forgotten. A sentence, while something cannot be found out.
    pub(super) async fn turn(
        &mut self,
        client: &mut Client,
        settings: &Ec2Settings,
        wanted: &[String],
        cloud: &mut Cloud,
    ) -> Option<String> {
        cloud.volumes.retain(|volume| wanted.contains(&volume.id));
        let missing = missing(wanted, cloud);
        if missing.is_empty() {
            *self = Self {
                role: self.role.take(),
                ..Self::new()
            };
            return None;
        }
        let is_new = !missing.is_subset(&self.missing);
        if !is_new && self.again.is_some_and(|again| Instant::now() < again) {
            return self.trouble.clone();
        }
        let asked = self.ask(client, settings, &missing, cloud).await;
        match asked {
            Ok(()) => (self.pause, self.again, self.trouble) = (PAUSE, None, None),
            Err(error) => {
                self.again = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(MOST_PAUSE);
                let why = printable::line(&printable::causes(&error), 400);
                self.trouble = Some(format!("failed to {why}"));
            }
        }
        self.missing = missing;
        self.trouble.clone()
    }

    async fn ask(
        &mut self,
        client: &mut Client,
        settings: &Ec2Settings,
        missing: &BTreeSet<String>,
        cloud: &mut Cloud,
    ) -> Result<(), AskError> {
        let region = cloud
            .instance
            .as_ref()
            .map_or("", |instance| &instance.region);
        let ec2 = Volumes::new(settings, region)?;
        if !is_fresh(self.role.as_ref()) {
            // What is about to end is used no more: AWS has new ones long before.
            self.role = None;
            self.role = client.role().await?;
        }
        let role = self.role.as_ref().ok_or(AskError::NoRole)?;
        let ids: Vec<String> = missing.iter().cloned().collect();
        match ec2.of(&ids, settings, role).await {
            Ok(found) => cloud.volumes.extend(found),
            Err(error) => {
                // They may have been taken back before their end.
                self.role = None;
                return Err(error.into());
            }
        }
        cloud.volumes.sort_by(|one, other| one.id.cmp(&other.id));
        let left = ids.into_iter().find(|id| cloud.volume(id).is_none());
        left.map_or(Ok(()), |volume| Err(AskError::NotShown { volume }))
    }
}

fn is_fresh(role: Option<&Credentials>) -> bool {
    role.is_some_and(|role| role.are_fresh(clock::moment()))
}

/// The wanted volumes that nothing is known of. What the agent writes is taken for what it is: names, no more of them
/// than an instance can have.
fn missing(wanted: &[String], cloud: &Cloud) -> BTreeSet<String> {
    let unknown = wanted.iter().take(MOST).filter(|id| is_volume(id));
    unknown
        .filter(|id| cloud.volume(id).is_none())
        .cloned()
        .collect()
}
