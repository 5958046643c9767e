//! The command line. Also read by build.rs, which makes man pages and completions from it, so it knows nothing
//! of the rest of the program.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// From an attached disk to one searchable timeline.
#[derive(Debug, Parser)]
#[command(name = "dfagent", version, about, long_about = LONG, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// Read this configuration file instead of /etc/dfagent
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

const LONG: &str = "From an attached disk to one searchable timeline.\n\n\
dfagent sets a disk read-only, mounts it without writing a sector, runs Plaso over it in a sandbox with a \
collection filter made for Linux, and leaves a time-ordered timeline with a verdict and a custody manifest.";

const EXIT_CODES: &str = "Exit codes:\n  \
0   done and complete\n  \
1   failed\n  \
2   usage\n  \
3   partial: something is missing and named\n  \
4   agent not reachable\n  \
5   needs an operator\n  \
78  configuration";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Be the agent: watch for attached volumes and make a timeline of each
    Run(RunArgs),
    /// Make a timeline of a disk, an image file or a folder
    Process(ProcessArgs),
    /// Be delivery: bring what the agent hands over to Timesketch
    Deliver(DeliverArgs),
    /// Write the documents of Plaso storage files, as psort makes them for Timesketch
    Export(ExportArgs),
    /// Check this machine and the configuration
    Check(CheckArgs),
    /// Check a job's files, and the evidence if it is there, against its manifest
    Verify(VerifyArgs),
    /// Show the agent, its jobs and what needs a person
    Status(StatusArgs),
    /// Go on with a job that stands still
    Retry(RetryArgs),
    /// End a job for good; what is finished is kept
    Cancel(JobArgs),
    /// Let go of a job's volume; it goes on at the next attachment
    Release(JobArgs),
    /// For udev's rule: set a disk read-only if it is evidence, and say what it is
    #[command(hide = true)]
    GuardDisk {
        /// Its node
        node: PathBuf,
    },
    /// Parts that run in the sandbox
    #[command(subcommand, hide = true)]
    Inside(Inside),
}

/// Arguments of `run`: none; everything is in the configuration.
#[derive(Args, Debug)]
#[command(long_about = RUN, after_long_help = EXIT_CODES)]
pub struct RunArgs {}

const RUN: &str = "Be the agent: watch for attached volumes and make a timeline of each.\n\n\
Volumes at the attachment points that an [attach.NAME] table of the configuration lists are evidence; everything \
else is left alone. `dfagent status` tells how things stand. SIGTERM and SIGINT stop in order, once more at once; \
SIGHUP, or a changed file, has the configuration read again.";

/// Arguments of `process`.
#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub struct ProcessArgs {
    /// A block device, a raw image file, or a folder with the files of a Linux system
    pub source: PathBuf,
    /// Folder for the results, in which the job makes a folder of its own; or a Timesketch server, https://…
    #[arg(long, value_name = "DIR|URL")]
    pub to: String,
    /// Folder for the results when --to is a server
    #[arg(long, value_name = "DIR", default_value = "dfagent-jobs")]
    pub work: PathBuf,
    /// Name of the case, kept in the manifest
    #[arg(long, value_name = "NAME")]
    pub case: Option<String>,
    /// Name of the sketch on the server, instead of the configured one
    #[arg(long, value_name = "NAME")]
    pub sketch: Option<String>,
    /// How documents go into OpenSearch
    #[command(flatten)]
    pub streaming: StreamArgs,
    /// Print the result as JSON, and progress as plain lines
    #[arg(long)]
    pub json: bool,
    /// Hash the whole source before and after, besides the sampled sectors
    #[arg(long)]
    pub full_hash: bool,
    /// Plaso's parsers and plugins, separated by commas, instead of the built-in list
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub parsers: Option<Vec<String>>,
    /// Collection filter file or folder, instead of the installed ones; may be given several times
    #[arg(long, value_name = "PATH")]
    pub filter: Vec<PathBuf>,
}

/// Arguments of what streams.
#[derive(Args, Debug, Default)]
pub struct StreamArgs {
    /// Send events straight into OpenSearch, each slice's as soon as it is done, instead of uploading storage files; to
    /// be found in Timesketch, if --to or the configuration names one
    #[arg(long)]
    pub stream: bool,
    /// The OpenSearch for --stream, instead of the configured one
    #[arg(long, value_name = "URL", requires = "stream")]
    pub opensearch: Option<String>,
    /// With --stream, leave out of the events which volume, host and slice they are from
    #[arg(long, requires = "stream")]
    pub no_labels: bool,
}

/// Arguments of `deliver`.
#[derive(Args, Debug)]
#[command(long_about = DELIVER, after_long_help = EXIT_CODES)]
pub struct DeliverArgs {
    /// Deliver what `process` left in this folder, and end
    #[arg(long, value_name = "DIR")]
    pub once: Option<PathBuf>,
    /// The Timesketch server, instead of the configured one
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Name of the sketch on the server, instead of the configured one
    #[arg(long, value_name = "NAME", requires = "once")]
    pub sketch: Option<String>,
    /// How documents go into OpenSearch
    #[command(flatten)]
    pub streaming: StreamArgs,
    /// Print the result as JSON
    #[arg(long, requires = "once")]
    pub json: bool,
}

const DELIVER: &str = "Be delivery: bring what the agent hands over to Timesketch.\n\n\
It needs no rights and sees no evidence: it takes finished slices from the outbox, uploads their storage files or sends \
their events into OpenSearch, and waits until Timesketch finds exactly the events that were extracted. Killed at any time, it goes on where it was. Started as root \
it becomes the account of [delivery] user. With --once it delivers a folder of `dfagent process`, a job's or one that \
holds several, as whoever calls it.";

/// Arguments of `export`.
#[derive(Args, Debug)]
#[command(long_about = EXPORT, after_long_help = EXIT_CODES)]
pub struct ExportArgs {
    /// Plaso storage files; the documents of several are joined by time
    #[arg(required = true, value_name = "STORE")]
    pub stores: Vec<PathBuf>,
    /// File to write, compressed if it ends in .gz or .zst; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Formatters that count before Plaso's own, as psort's --custom_formatter_definitions
    #[arg(long, value_name = "FILE")]
    pub custom_formatters: Option<PathBuf>,
}

const EXPORT: &str = "Write the documents of Plaso storage files, as psort makes them for Timesketch.\n\n\
One JSON object a line, ordered by time, without psort's doubles: what `psort -o opensearch_ts` would send, less \
__ts_timeline_id, many times faster. Messages follow the formatters of the installed Plaso. Halves of characters are \
written as \\uXXXX, NaN and infinities as text, for JSON has neither. The storage file is read in the sandbox, so this \
needs root. What was done, and how many documents only Plaso's own code could make, is said on standard error.";

/// Arguments of `check`.
#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub struct CheckArgs {
    /// Folder for results whose free space is checked
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub to: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub struct VerifyArgs {
    /// The manifest.json of a job
    pub manifest: PathBuf,
    /// The source, if it is somewhere else than it was
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `status`.
#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub struct StatusArgs {
    /// Only this job, by the id of its volume
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
    /// Print the status as JSON; with --watch, a line for each change
    #[arg(long)]
    pub json: bool,
    /// Print one line, as at login; nothing where nobody may look
    #[arg(long, conflicts_with_all = ["job", "json", "watch"])]
    pub line: bool,
    /// Show it again every second, or on no terminal every change, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// Arguments of `retry`.
#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub struct RetryArgs {
    /// The job, by the id of its volume
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Set aside what is there and begin the job anew
    #[arg(long)]
    pub anew: bool,
}

/// Arguments of `cancel` and `release`.
#[derive(Args, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub struct JobArgs {
    /// The job, by the id of its volume
    #[arg(value_name = "JOB")]
    pub job: String,
}

/// Parts that run in the sandbox; not for people.
#[derive(Debug, Subcommand)]
pub enum Inside {
    /// Limit this process and become the command
    Launch {
        /// Control group folder to join
        #[arg(long)]
        cgroup: Option<PathBuf>,
        /// Process that must be the parent
        #[arg(long)]
        parent: i32,
        /// Memory of each process in bytes
        #[arg(long)]
        data: u64,
        /// Number of processes, where no control group limits it
        #[arg(long)]
        processes: Option<u64>,
        /// Largest file in bytes
        #[arg(long)]
        file_size: u64,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Be the parent of the command
    Guard {
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Probe a source
    Probe {
        /// The source
        source: PathBuf,
        /// The answer
        answer: PathBuf,
    },
    /// Take the census of a mounted filesystem
    Census {
        /// The mounted filesystem
        root: PathBuf,
        /// The question
        request: PathBuf,
        /// The folder for the answer
        folder: PathBuf,
    },
    /// Summarise a storage file
    Summary {
        /// The storage file
        store: PathBuf,
        /// The list of entries it should cover
        listing: PathBuf,
        /// The path of the evidence
        evidence: String,
        /// The answer
        answer: PathBuf,
    },
    /// Export a storage file as documents
    Export {
        /// The storage file
        store: PathBuf,
        /// Plaso's folder of formatters
        formatters: PathBuf,
        /// The documents
        output: PathBuf,
        /// The answer
        receipt: PathBuf,
        /// A Python with Plaso
        python: PathBuf,
        /// The program that asks Plaso for single events
        script: PathBuf,
        /// Formatters that come first
        #[arg(long, value_name = "FILE")]
        custom: Option<PathBuf>,
    },
    /// Join documents into one timeline
    Merge {
        /// The timeline
        #[arg(long)]
        output: PathBuf,
        /// The answer
        #[arg(long)]
        receipt: PathBuf,
        /// The documents of each slice
        inputs: Vec<PathBuf>,
    },
}
