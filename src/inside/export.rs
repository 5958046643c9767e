//! Storage file to documents, in the cage.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::rows::Rows;
use crate::export::formatter::{Formatters, FormattersError};
use crate::export::run::{self, ExportError};
use crate::plaso::summary::ExportReceipt;

/// What is to be exported.
#[derive(Debug)]
pub struct Request {
    /// The storage file.
    pub store: PathBuf,
    /// Plaso's folder of formatters.
    pub formatters: PathBuf,
    /// Formatters that come first, as psort takes them with `--custom_formatter_definitions`.
    pub custom: Option<PathBuf>,
    /// The file of documents, which must not exist.
    pub output: PathBuf,
    /// A Python with Plaso.
    pub python: PathBuf,
    /// `export_documents.py`.
    pub script: PathBuf,
}

/// Why there are no documents.
#[derive(Debug, thiserror::Error)]
pub enum ExportFailure {
    /// Plaso's formatters.
    #[error(transparent)]
    Formatters(#[from] FormattersError),
    /// The output.
    #[error("{operation} {}", path.display())]
    Output {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The export.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Writes the documents of a storage file.
///
/// # Errors
/// See [`run::run`]; then the output is not whole.
pub fn run(request: &Request) -> Result<ExportReceipt, ExportFailure> {
    let failed = |operation| {
        move |source| ExportFailure::Output {
            operation,
            path: request.output.clone(),
            source,
        }
    };
    let formatters = Formatters::load(&request.formatters, request.custom.as_deref())?;
    // Not one that is there: a file or link of somebody else's is not ours to overwrite.
    let mut file = File::create_new(&request.output).map_err(failed("create"))?;
    let folder = match request.output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut rows = Rows::new(request.command());
    let receipt = run::run(&request.store, &formatters, folder, &mut file, &mut rows)?;
    file.sync_all().map_err(failed("flush"))?;
    Ok(receipt)
}

impl Request {
    /// How Plaso's own code is asked for single events.
    fn command(&self) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec![
            (&self.python).into(),
            (&self.script).into(),
            (&self.store).into(),
            "--rows".into(),
            (&self.formatters).into(),
        ];
        if let Some(custom) = &self.custom {
            command.extend(["--custom".into(), custom.into()]);
        }
        command
    }
}
