//! What can be asked of Timesketch.

use std::path::Path;

use reqwest::multipart::Form;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::ask::{self, Ask, Sending};
use super::chunk::{self, Chunk, ChunkAnswer};
use super::error::ClientError;
use super::judge;
use super::model::{Objects, RawSketch, RawTask, RawTimeline, Sketch, Timeline, Version};
use super::session::Keeper;
use crate::config::delivery::{TimesketchSettings, is_web_address};
use crate::http::{Answer, Limits, Setup, Wire};
use crate::printable;
use crate::secret::Secret;

const API: &str = "/api/v1";
/// More pages than any server has sketches of one name.
const MOST_PAGES: u64 = 200;
/// The credential that systemd may give in place of a file.
const CREDENTIAL: &str = "timesketch-password";

/// One server, as one user. It serves any number of jobs at once.
pub struct Client {
    wire: Wire,
    keeper: Keeper,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.wire.fmt(out)
    }
}

impl Client {
    /// Reads the files of certificates; the password is read when it is needed. `credentials` is systemd's folder
    /// of credentials, for when no password file is named.
    ///
    /// # Errors
    /// An address or files that are no good, or no password file at all.
    pub fn new(
        settings: &TimesketchSettings,
        credentials: Option<&Path>,
    ) -> Result<Self, ClientError> {
        let wire = Wire::new(&Setup {
            url: &settings.url,
            fits: is_web_address,
            section: "timesketch",
            ca_file: &settings.ca_file,
            certificate: &settings.client_certificate,
            limits: Limits {
                connect: settings.connect_limit(),
                answer: settings.answer_limit(),
                idle: settings.idle_limit(),
                total: settings.request_limit(),
            },
        })?;
        let source = if ask::wants_password(settings.login) {
            Some(Secret::source(
                &settings.password_file,
                CREDENTIAL,
                credentials,
            )?)
        } else {
            None
        };
        let keeper = Keeper::new(settings.login, &settings.user, source);
        Ok(Self { wire, keeper })
    }

    /// The server's address, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> &str {
        self.wire.base()
    }

    /// Whether the server refused the secret that still stands in its file. As long as it does, nothing is sent
    /// that needs a new login.
    pub async fn is_locked_out(&self) -> bool {
        self.keeper.is_locked_out().await
    }

    /// What runs there. The answer proves that the login works.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn version(&self) -> Result<Version, ClientError> {
        let action = format!("ask {} for its version", self.base());
        let answer = self.get(&action, "/version/", ask::ANSWER).await?;
        let objects: Objects<Value> = judge::json(&action, &answer, false)?;
        let Some(version) = objects.meta.version else {
            return Err(judge::odd(&action, "no version", false));
        };
        Ok(Version::of(&version, objects.meta.plaso_version.as_ref()))
    }

    /// Whether a sketch would take an upload: an upload of nothing is refused for being that, and changes nothing.
    ///
    /// # Errors
    /// Uploads are off, the sketch is missing or archived, or not ours to write to.
    pub async fn can_upload(&self, sketch: u64) -> Result<(), ClientError> {
        let action = format!("upload to sketch {sketch} of {}", self.base());
        let text = sketch.to_string();
        self.probe(action, ("sketch_id", text), "no file uploaded")
            .await
    }

    /// Whether the server takes uploads at all.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn takes_uploads(&self) -> Result<(), ClientError> {
        let action = format!("upload to {}", self.base());
        let nothing = ("provider", "dfagent".to_owned());
        self.probe(action, nothing, "without supplying a sketch")
            .await
    }

    /// Uploads nothing, to be refused for that.
    async fn probe(
        &self,
        action: String,
        (name, value): (&'static str, String),
        refusal: &str,
    ) -> Result<(), ClientError> {
        let question = Ask {
            action,
            method: Method::POST,
            path: format!("{API}/upload/"),
            most: ask::ANSWER,
            body: &|request, wire| {
                let form = Form::new().text(name, value.clone());
                let request = request.multipart(form);
                let budget = ask::short(wire);
                Ok(Sending { request, budget })
            },
        };
        match question.put(&self.wire, &self.keeper).await {
            Err(ClientError::Refused {
                status: 400,
                message,
                ..
            }) if message.contains(refusal) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                let problem = "it took an upload of nothing";
                Err(judge::odd(&question.action, problem, false))
            }
        }
    }

    /// A sketch by its number.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sketch(&self, id: u64) -> Result<Sketch, ClientError> {
        let action = format!("look at sketch {id} of {}", self.base());
        Ok(self.raw_sketch(&action, id).await?.0.into())
    }

    /// The sketches of exactly that name that we may read and that are in use, by number.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sketches_named(&self, name: &str) -> Result<Vec<Sketch>, ClientError> {
        let action = format!(
            "look for the sketch {:?} of {}",
            printable::line(name, 80),
            self.base()
        );
        let mut found = Vec::new();
        let mut page = 1;
        for _ in 0..MOST_PAGES {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("scope", "search")
                // It is a pattern to the database, where a backslash takes the meaning of the next character,
                // and an underscore is any one.
                .append_pair("search_query", &name.replace('\\', "_"))
                .append_pair("per_page", "50")
                .append_pair("page", &page.to_string())
                .finish();
            let path = format!("/sketches/?{query}");
            let answer = self.get(&action, &path, ask::LIST).await?;
            let objects: Objects<RawSketch> = judge::json(&action, &answer, false)?;
            let exact = objects.objects.into_iter();
            found.extend(exact.filter(|sketch| sketch.name == name && !sketch.is_closed()));
            match objects.meta.next_page {
                Some(next) if next > page => page = next,
                _ => {
                    let mut found: Vec<Sketch> = found.into_iter().map(Into::into).collect();
                    // A sketch may have moved to the next page meanwhile.
                    found.sort_by_key(|sketch| sketch.id);
                    found.dedup_by_key(|sketch| sketch.id);
                    return Ok(found);
                }
            }
        }
        Err(judge::odd(&action, "its list does not end", false))
    }

    /// Makes a sketch that is ours alone.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_sketch(
        &self,
        name: &str,
        description: &str,
    ) -> Result<Sketch, ClientError> {
        let action = format!(
            "make the sketch {:?} at {}",
            printable::line(name, 80),
            self.base()
        );
        let body = json!({"name": name, "description": description});
        let answer = self.post(&action, "/sketches/", &body).await?;
        let objects: Objects<RawSketch> = judge::json(&action, &answer, true)?;
        let mut sketches = objects.objects.into_iter();
        let sketch = sketches
            .next()
            .ok_or_else(|| judge::odd(&action, "no sketch", true))?;
        Ok(sketch.into())
    }

    /// Takes a sketch away, as far as Timesketch does that; one that is not there is fine.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete_sketch(&self, id: u64) -> Result<(), ClientError> {
        let action = format!("delete sketch {id} of {}", self.base());
        self.delete(&action, &format!("/sketches/{id}/")).await
    }

    /// Lets others use a sketch: everybody may read it if it is `public`, readers may read, writers write too.
    ///
    /// # Errors
    /// See [`ClientError`]; a user that the server does not have is an error, too.
    pub async fn share_sketch(
        &self,
        id: u64,
        public: bool,
        readers: &[String],
        writers: &[String],
    ) -> Result<(), ClientError> {
        let action = format!("share sketch {id} of {}", self.base());
        let path = format!("/sketches/{id}/collaborators/");
        for (users, permissions) in [(readers, r#"["read"]"#), (writers, r#"["read", "write"]"#)] {
            // Each of these requests says anew whether the sketch is public.
            let body = json!({"users": users, "permissions": permissions, "public": public});
            self.post(&action, &path, &body).await?;
        }
        if readers.is_empty() && writers.is_empty() {
            return Ok(());
        }
        // The server passes over users that it does not have.
        let users = self.raw_sketch(&action, id).await?.1;
        // The owner, as which we made it, is not among them.
        let has = |name: &str| name == self.keeper.user() || users.iter().any(|user| user == name);
        let missing: Vec<String> = readers
            .iter()
            .chain(writers)
            .filter(|name| !has(name) && !has(name.split('@').next().unwrap_or_default().trim()))
            .map(|name| printable::line(name, 80))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names = missing.join(", ");
        Err(ClientError::NoSuchUsers { action, names })
    }

    /// The timelines of a sketch with their uploads.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn timelines(&self, sketch: u64) -> Result<Vec<Timeline>, ClientError> {
        let action = format!("list the timelines of sketch {sketch} of {}", self.base());
        let path = format!("/sketches/{sketch}/timelines/");
        let answer = self.get(&action, &path, ask::LIST).await?;
        let objects: Objects<Vec<RawTimeline>> = judge::json(&action, &answer, false)?;
        let timelines = objects.objects.into_iter().flatten();
        let living = timelines.filter(|timeline| timeline.deleted != Some(true));
        Ok(living.map(|timeline| timeline.with(None)).collect())
    }

    /// A timeline with its uploads and how many events a search finds. Asking makes OpenSearch work.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn timeline(&self, sketch: u64, id: u64) -> Result<Timeline, ClientError> {
        let action = format!(
            "look at timeline {id} of sketch {sketch} of {}",
            self.base()
        );
        let path = format!("/sketches/{sketch}/timelines/{id}/");
        let answer = self.get(&action, &path, ask::ANSWER).await?;
        let objects: Objects<RawTimeline> = judge::json(&action, &answer, false)?;
        let mut timelines = objects.objects.into_iter();
        let timeline = timelines
            .next()
            .ok_or_else(|| judge::odd(&action, "no timeline", false))?;
        Ok(timeline.with(objects.meta.lines_indexed))
    }

    /// Whether the server's work on an upload ended with an error; not when the server does not know it any more.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn has_task_failed(&self, task: &str) -> Result<bool, ClientError> {
        let action = format!("ask {} for its task", self.base());
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("job_id", task)
            .finish();
        let answer = self
            .get(&action, &format!("/tasks/?{query}"), ask::ANSWER)
            .await?;
        let objects: Objects<RawTask> = judge::json(&action, &answer, false)?;
        let mut tasks = objects.objects.iter();
        Ok(tasks.any(|task| task.state == "FAILURE"))
    }

    /// Takes a timeline out of its sketch; one that is not there is fine.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete_timeline(&self, sketch: u64, id: u64) -> Result<(), ClientError> {
        let action = format!("delete timeline {id} of sketch {sketch} of {}", self.base());
        self.delete(&action, &format!("/sketches/{sketch}/timelines/{id}/"))
            .await
    }

    /// Sends a part of a file. `sent` hears how many of its bytes have left; after a new login it begins again.
    ///
    /// # Errors
    /// See [`ClientError`], and [`super::Fault::Unsure`] above all.
    pub async fn send_chunk(
        &self,
        chunk: &Chunk<'_>,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<ChunkAnswer, ClientError> {
        let action = format!("upload to sketch {} of {}", chunk.sketch, self.base());
        let question = Ask {
            action: action.clone(),
            method: Method::POST,
            path: format!("{API}/upload/"),
            most: ask::ANSWER,
            body: &|request, wire| chunk::load(request, wire, chunk, sent),
        };
        let answer = question.put(&self.wire, &self.keeper).await?;
        let objects: Objects<RawTimeline> = judge::json(&action, &answer, true)?;
        let last = chunk.index + 1 == chunk.total;
        match (
            objects.meta.upload_complete,
            objects.objects.into_iter().next(),
        ) {
            (Some(false), None) if !last => Ok(ChunkAnswer::Taken),
            (Some(true), Some(timeline)) if last => {
                let task = objects.meta.task_id.unwrap_or_default();
                let task = printable::line(&task, 80);
                Ok(ChunkAnswer::Complete(timeline.with(None), task))
            }
            _ => Err(judge::odd(&action, "it counts the parts otherwise", true)),
        }
    }

    async fn raw_sketch(
        &self,
        action: &str,
        id: u64,
    ) -> Result<(RawSketch, Vec<String>), ClientError> {
        let path = format!("/sketches/{id}/");
        let answer = self.get(action, &path, ask::LIST).await?;
        let objects: Objects<RawSketch> = judge::json(action, &answer, false)?;
        let users = objects.meta.collaborators.unwrap_or_default().users;
        let mut sketches = objects.objects.into_iter();
        let sketch = sketches
            .next()
            .ok_or_else(|| judge::odd(action, "no sketch", false))?;
        Ok((sketch, users))
    }

    pub(super) async fn get(
        &self,
        action: &str,
        path: &str,
        most: usize,
    ) -> Result<Answer, ClientError> {
        self.short(action, Method::GET, path, most, &|request| request)
            .await
    }

    pub(super) async fn post(
        &self,
        action: &str,
        path: &str,
        body: &Value,
    ) -> Result<Answer, ClientError> {
        let text = body.to_string();
        self.short(action, Method::POST, path, ask::ANSWER, &|request| {
            request
                .header(reqwest::header::CONTENT_TYPE, "application/json")
                .body(text.clone())
        })
        .await
    }

    async fn delete(&self, action: &str, path: &str) -> Result<(), ClientError> {
        let answer = self
            .short(action, Method::DELETE, path, ask::ANSWER, &|request| {
                request
            })
            .await;
        match answer {
            Ok(_) | Err(ClientError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn short(
        &self,
        action: &str,
        method: Method,
        path: &str,
        most: usize,
        body: &(dyn Fn(RequestBuilder) -> RequestBuilder + Sync),
    ) -> Result<Answer, ClientError> {
        let question = Ask {
            action: action.to_owned(),
            method,
            path: format!("{API}{path}"),
            most,
            body: &|request, wire| {
                Ok(Sending {
                    request: body(request),
                    budget: ask::short(wire),
                })
            },
        };
        question.put(&self.wire, &self.keeper).await
    }
}
