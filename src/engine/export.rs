//! Storage file to documents, in the cage: by our own exporter, and by psort as a whole where that one cannot.

use std::path::{Path, PathBuf};

use super::EngineError;
use super::slice::SliceRun;
use crate::cage::command::inside;
use crate::cage::task::words;
use crate::durable;
use crate::job::DOCUMENTS;
use crate::manifest::Exporter;
use crate::plaso::command::STORAGE;
use crate::plaso::install::Plaso;
use crate::plaso::summary::ExportReceipt;

const RECEIPT: &str = "receipt.json";
/// The script inside the cage: psort as a whole, or Plaso's code for single events.
const SCRIPT: &str = "/export_documents.py";
const SCRIPT_TEXT: &str = include_str!("../../packaging/usr/lib/dfagent/export_documents.py");

/// Formatters of the caller's inside the cage.
const CUSTOM: &str = "/formatters.yaml";

/// What came of an export.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// What the exporter says.
    pub receipt: ExportReceipt,
    /// Which one it was.
    pub exporter: Exporter,
}

/// A command in the cage, and what it wants to see there.
#[derive(Debug)]
pub struct ExportCommand {
    /// The program and its arguments, as paths inside.
    pub program: Vec<String>,
    /// More to be seen read-only: outside, inside.
    pub read_only: Vec<(PathBuf, String)>,
    /// Small files to be made inside: content, path.
    pub data: Vec<(&'static str, String)>,
}

impl ExportCommand {
    /// Our own exporter; none where Plaso does not tell where its formatters are. Paths are inside.
    #[must_use]
    pub fn own(plaso: &Plaso, [store, documents, receipt]: [&str; 3]) -> Option<Self> {
        let formatters = plaso.formatters.as_deref()?;
        let program = [
            inside::GUARD,
            "inside",
            "export",
            store,
            formatters,
            documents,
            receipt,
            &plaso.python,
            SCRIPT,
        ];
        Some(Self::with(plaso, &program))
    }

    /// psort as a whole. Paths are inside.
    #[must_use]
    pub fn psort(plaso: &Plaso, [store, documents, receipt]: [&str; 3]) -> Self {
        let program = [
            &plaso.python,
            SCRIPT,
            store,
            documents,
            "--receipt",
            receipt,
        ];
        Self::with(plaso, &program)
    }

    /// The same with formatters that count before Plaso's own; the file is outside.
    #[must_use]
    pub fn with_formatters(mut self, custom: Option<&Path>) -> Self {
        if let Some(custom) = custom {
            self.program.extend(words(&["--custom", CUSTOM]));
            self.read_only
                .push((custom.to_path_buf(), CUSTOM.to_owned()));
        }
        self
    }

    fn with(plaso: &Plaso, program: &[&str]) -> Self {
        Self {
            program: words(program),
            read_only: plaso.read_only(),
            data: vec![(SCRIPT_TEXT, SCRIPT.to_owned())],
        }
    }
}

impl SliceRun<'_> {
    /// Exports the slice's storage file. What our exporter cannot do is left to psort, and so is said.
    pub(super) async fn export(&self) -> Result<Result<Exported, String>, EngineError> {
        let attempt = |name: &str| format!("{}/{name}", inside::ATTEMPT);
        let files = [STORAGE, DOCUMENTS, RECEIPT].map(attempt);
        let files = files.each_ref().map(String::as_str);
        let plaso = &self.job.engine.plaso;
        if let Some(command) = ExportCommand::own(plaso, files) {
            match self.export_by(command, Exporter::Dfagent).await? {
                Err(reason) => tracing::warn!(
                    dfagent_slice = self.planned.name,
                    dfagent_error = reason,
                    "the exporter gives a storage file up; psort is run"
                ),
                done => return Ok(done),
            }
            // psort's script does not overwrite what is there.
            for name in [DOCUMENTS, RECEIPT] {
                durable::remove_file(&self.attempt.join(name))?;
            }
        }
        let command = ExportCommand::psort(plaso, files);
        self.export_by(command, Exporter::Psort).await
    }

    async fn export_by(
        &self,
        command: ExportCommand,
        exporter: Exporter,
    ) -> Result<Result<Exported, String>, EngineError> {
        let ExportCommand {
            program,
            read_only,
            data,
        } = command;
        let done = self.helper("export", program, read_only, data).await?;
        let receipt = done.and_then(|()| self.answer(RECEIPT));
        Ok(receipt.map(|receipt| Exported { receipt, exporter }))
    }
}
