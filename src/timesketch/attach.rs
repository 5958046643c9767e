//! Showing an index of OpenSearch as a timeline of a sketch, without Timesketch putting a document into it. Everything
//! here may be asked once more: what is there already is answered as it is.

use serde_json::json;

use super::ask;
use super::client::Client;
use super::error::ClientError;
use super::judge;
use super::model::{Objects, RawDatasource, RawIndex, RawTimeline, Timeline};
use crate::printable;

/// An index as Timesketch knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchIndex {
    /// Its number.
    pub id: u64,
    /// Whether it was deleted there: nothing can be attached by it any more.
    pub deleted: bool,
}

/// What is written beside a timeline about where it is from.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// Who made it.
    pub provider: &'a str,
    /// Anything.
    pub context: &'a str,
    /// A name that tells it from others beside the same timeline.
    pub file_name: &'a str,
    /// What kind of data it is.
    pub data_label: &'a str,
}

impl Client {
    /// Makes an index of OpenSearch known, as ours alone, or finds what is known of it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn know_index(&self, index: &str, name: &str) -> Result<SearchIndex, ClientError> {
        let action = format!("make the index {index} known at {}", self.base());
        let body = json!({"searchindex_name": name, "es_index_name": index, "public": false});
        let answer = self.post(&action, "/searchindices/", &body).await?;
        let objects: Objects<RawIndex> = judge::json(&action, &answer, true)?;
        let deleted = objects.meta.deleted == Some(true);
        let mut indexes = objects.objects.into_iter();
        let index = indexes
            .next()
            .ok_or_else(|| judge::odd(&action, "no index", true))?;
        Ok(SearchIndex {
            id: index.id,
            deleted,
        })
    }

    /// Says that an index can be searched.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn open_index(&self, id: u64) -> Result<(), ClientError> {
        let action = format!("open index {id} of {}", self.base());
        let body = json!({"status": "ready"});
        let path = format!("/searchindices/{id}/");
        self.post(&action, &path, &body).await.map(drop)
    }

    /// The names of the fields that an index has, as Timesketch sees it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn index_fields(&self, id: u64) -> Result<Vec<String>, ClientError> {
        let action = format!("look at index {id} of {}", self.base());
        let path = format!("/searchindices/{id}/");
        let answer = self.get(&action, &path, ask::LIST).await?;
        let objects: Objects<RawIndex> = judge::json(&action, &answer, false)?;
        Ok(objects.meta.fields.unwrap_or_default())
    }

    /// Makes a timeline of an index, or finds the one that the sketch has of it; it can be searched at once.
    ///
    /// The answer to a second request is not believed: Timesketch takes the number of the index for that of a timeline
    /// (`TimelineListResource.post` in `api/v1/resources/timeline.py`) and names some other one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn attach(
        &self,
        sketch: u64,
        index: u64,
        name: &str,
    ) -> Result<Timeline, ClientError> {
        if let Some(there) = self.timeline_of(sketch, index).await? {
            return Ok(there);
        }
        let shown = printable::line(name, 80);
        let action = format!(
            "make the timeline {shown:?} in sketch {sketch} of {}",
            self.base()
        );
        let body = json!({"timeline": index, "timeline_name": name});
        let path = format!("/sketches/{sketch}/timelines/");
        let answer = self.post(&action, &path, &body).await?;
        let objects: Objects<RawTimeline> = judge::json(&action, &answer, true)?;
        let timeline = match objects.meta.created {
            Some(false) => self.timeline_of(sketch, index).await?,
            _ => objects.objects.into_iter().next().map(|raw| raw.with(None)),
        };
        timeline.ok_or_else(|| judge::odd(&action, "no timeline", true))
    }

    /// The timeline that a sketch has of an index.
    async fn timeline_of(&self, sketch: u64, index: u64) -> Result<Option<Timeline>, ClientError> {
        let timelines = self.timelines(sketch).await?.into_iter();
        let of_index = timelines.filter(|timeline| timeline.index == Some(index));
        Ok(of_index.min_by_key(|timeline| timeline.id))
    }

    /// Writes beside a timeline where it is from. Unlike all else here a second time makes a second one: whoever asks
    /// looks at the timeline first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn describe(
        &self,
        sketch: u64,
        timeline: u64,
        description: Description<'_>,
    ) -> Result<(), ClientError> {
        let action = format!(
            "describe timeline {timeline} in sketch {sketch} of {}",
            self.base()
        );
        let body = json!({
            "timeline_id": timeline,
            "provider": description.provider,
            "context": description.context,
            "original_filename": description.file_name,
            "data_label": description.data_label,
        });
        let path = format!("/sketches/{sketch}/datasource/");
        let answer = self.post(&action, &path, &body).await?;
        judge::json::<Objects<RawDatasource>>(&action, &answer, true).map(drop)
    }

    /// Writes something else beside a timeline than there was.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn describe_anew(
        &self,
        sketch: u64,
        datasource: u64,
        context: &str,
    ) -> Result<(), ClientError> {
        let action = format!(
            "describe datasource {datasource} in sketch {sketch} of {}",
            self.base()
        );
        let path = format!("/sketches/{sketch}/datasource/{datasource}/");
        let body = json!({"context": context});
        self.post(&action, &path, &body).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::Fault;
    use super::super::tests::Fake;
    use super::*;
    use crate::http::tests::json;

    const INDEX: &str = r#"{"meta":{"created":false,"deleted":true},"objects":[{"id":4}]}"#;
    const FIELDS: &str = r#"{"meta":{"fields":["message","datetime"]},"objects":[{"id":4}]}"#;
    const TIMELINE: &str = r#"{"meta":{"created":true},"objects":[{"id":9,"name":"web-1",
        "status":[{"id":1,"status":"ready"}],"datasources":[]}]}"#;
    const NONE: &str = r#"{"meta":{},"objects":[[]]}"#;
    const SOME: &str = r#"{"meta":{},"objects":[[{"id":2,"searchindex":{"id":3}},{"id":9,"searchindex":{"id":4}},
        {"id":11,"searchindex":{"id":4}},{"id":4,"searchindex":{"id":6}},{"id":5,"searchindex":null}]]}"#;
    const ANOTHER: &str = r#"{"meta":{"created":false},"objects":[{"id":4,"name":"another"}]}"#;
    const SOURCE: &str = r#"{"meta":{},"objects":[{"id":2,"status":[]}]}"#;

    #[tokio::test]
    async fn an_index_becomes_a_timeline_in_four_requests_and_what_is_there_is_found() {
        let fake = Fake::start(|heard| match heard.line.as_str() {
            "POST /api/v1/searchindices/" => json("200 OK", INDEX),
            "POST /api/v1/searchindices/4/" | "GET /api/v1/searchindices/4/" => {
                json("200 OK", FIELDS)
            }
            "GET /api/v1/sketches/7/timelines/" => json("200 OK", NONE),
            "POST /api/v1/sketches/7/timelines/" => json("201 Created", TIMELINE),
            "POST /api/v1/sketches/7/datasource/" => json("201 Created", SOURCE),
            "POST /api/v1/sketches/7/datasource/2/" => json("200 OK", SOURCE),
            other => panic!("{other}"),
        })
        .await;
        let client = fake.client();
        let index = client.know_index("df0", "web-1").await.unwrap();
        assert_eq!(
            index,
            SearchIndex {
                id: 4,
                deleted: true
            }
        );
        client.open_index(4).await.unwrap();
        let fields = client.index_fields(4).await.unwrap();
        assert_eq!(fields, ["message", "datetime"]);
        let timeline = client.attach(7, 4, "web-1").await.unwrap();
        assert_eq!((timeline.id, timeline.name.as_str()), (9, "web-1"));
        let description = Description {
            provider: "dfagent",
            context: "{}",
            file_name: "df0",
            data_label: "dfagent-0",
        };
        client.describe(7, 9, description).await.unwrap();
        client.describe_anew(7, 2, "{\"a\":1}").await.unwrap();
        let heard = fake.stub.heard();
        let sent = |line: &str| {
            let of = heard.iter().find(|one| one.line == line).unwrap();
            serde_json::from_slice::<serde_json::Value>(&of.body).unwrap()
        };
        let known = sent("POST /api/v1/searchindices/");
        assert_eq!(
            (&known["es_index_name"], &known["public"]),
            (&json!("df0"), &json!(false))
        );
        let described = sent("POST /api/v1/sketches/7/datasource/");
        assert_eq!(described["original_filename"], "df0");
        assert_eq!(sent("POST /api/v1/sketches/7/timelines/")["timeline"], 4);
    }

    #[tokio::test]
    async fn an_index_is_attached_once_and_what_a_second_request_is_told_is_not_believed() {
        // Attached by somebody else between our look and our request, or before both.
        for looks_before in [1, 0] {
            let looks = AtomicUsize::new(0);
            let fake = Fake::start(move |heard| match heard.line.as_str() {
                "GET /api/v1/sketches/7/timelines/" => {
                    let before = looks.fetch_add(1, Ordering::SeqCst);
                    json("200 OK", if before < looks_before { NONE } else { SOME })
                }
                "POST /api/v1/sketches/7/timelines/" => json("200 OK", ANOTHER),
                other => panic!("{other}"),
            })
            .await;
            assert_eq!(fake.client().attach(7, 4, "web-1").await.unwrap().id, 9);
            let heard = fake.stub.heard();
            let asked = heard.iter().filter(|one| one.line.starts_with("POST /api"));
            assert_eq!(asked.count(), looks_before);
        }
    }

    #[tokio::test]
    async fn a_sketch_that_is_not_there_is_not_found() {
        let fake = Fake::start(|_| json("404 Not Found", r#"{"message":"No sketch found"}"#)).await;
        let error = fake.client().attach(7, 4, "x").await.unwrap_err();
        assert_eq!(error.fault(), Fault::NotFound);
    }
}
