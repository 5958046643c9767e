//! Finding or making the sketch of a case. Names are not unique on the server, so of sketches with one name everybody
//! takes the one with the lowest number, and whoever made another one meanwhile removes it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;

use super::receipt::Link;
use crate::config::delivery::TimesketchSettings;
use crate::timesketch::{Client, ClientError, Sketch};

/// A sketch that was just made may be one of several that were made at the same time; after this long all of them
/// can be seen by everybody.
const SETTLE: Duration = Duration::from_secs(2);

const DESCRIPTION: &str = "Made by dfagent.";

/// The sketches that were found, by name. One at a time is looked for, so that one process makes no doubles itself.
#[derive(Debug, Default)]
pub struct Sketches {
    known: Mutex<BTreeMap<String, Link>>,
}

impl Sketches {
    /// The sketch of this name, or the configured one by its number.
    ///
    /// # Errors
    /// The server's.
    pub async fn find(
        &self,
        client: &Client,
        settings: &TimesketchSettings,
        name: &str,
    ) -> Result<Link, ClientError> {
        let mut known = self.known.lock().await;
        if let Some(link) = known.get(name) {
            return Ok(link.clone());
        }
        let sketch = if settings.sketch_id == 0 {
            by_name(client, settings, name).await?
        } else {
            client.sketch(settings.sketch_id).await?
        };
        let link = link(client, &sketch);
        known.insert(name.to_owned(), link.clone());
        Ok(link)
    }

    /// A sketch is not there any more: it is looked for again.
    pub async fn forget(&self, id: u64) {
        self.known.lock().await.retain(|_, link| link.id != id);
    }
}

fn link(client: &Client, sketch: &Sketch) -> Link {
    Link {
        id: sketch.id,
        name: sketch.name.clone(),
        url: format!("{}/sketch/{}/explore", client.base(), sketch.id),
    }
}

async fn by_name(
    client: &Client,
    settings: &TimesketchSettings,
    name: &str,
) -> Result<Sketch, ClientError> {
    if let Some(first) = client.sketches_named(name).await?.into_iter().next() {
        return Ok(first);
    }
    let made = client.create_sketch(name, DESCRIPTION).await?;
    let first = settled(client, name).await?.unwrap_or_else(|| made.clone());
    if first.id == made.id {
        let (readers, writers) = (&settings.readers, &settings.writers);
        client
            .share_sketch(made.id, settings.public, readers, writers)
            .await?;
    } else if client.timelines(made.id).await?.is_empty() {
        client.delete_sketch(made.id).await?;
    }
    Ok(first)
}

/// The first sketch of that name, once those that are made at this moment can be seen.
async fn settled(client: &Client, name: &str) -> Result<Option<Sketch>, ClientError> {
    sleep(SETTLE).await;
    Ok(client.sketches_named(name).await?.into_iter().next())
}
