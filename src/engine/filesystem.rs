//! One filesystem of a source, opened for reading: its loop device and its mount.

use std::path::PathBuf;

use super::EngineError;
use crate::cage::CagedEvidence;
use crate::cage::command::inside;
use crate::evidence::loopdev::LoopDevice;
use crate::evidence::mount::{Mounted, bind_folder, mount_filesystem};
use crate::evidence::outcome::{Unread, refused_mount, unread_content};
use crate::evidence::plan::{MountPlan, Reading, mount_plan};
use crate::evidence::probe::{Content, Region, Superblock};
use crate::evidence::source::Source;
use crate::job::JobFolder;

/// The label of a folder source's only filesystem.
pub const FOLDER: &str = "folder";

/// A filesystem that is open. The mount goes before the loop below it.
#[derive(Debug)]
pub struct OpenFilesystem {
    /// `disk`, `p2`, `folder`.
    pub label: String,
    /// What its superblock says; none for a folder.
    pub superblock: Option<Superblock>,
    /// How it was mounted; none for a folder.
    pub plan: Option<MountPlan>,
    /// The mount.
    pub mounted: Mounted,
    device: Option<LoopDevice>,
}

/// The path of a filesystem's evidence inside the cage, which is the one that events show; sources with a
/// partition table show the partition. A device is named as an image, because Plaso looks at the name to
/// decide whether it reads a raw image, and its events are to be those of a run over the image.
#[must_use]
pub fn path_inside(label: &str, reading: Reading) -> String {
    let whole = matches!(label, "disk" | FOLDER);
    match reading {
        Reading::Raw => format!("{}/{label}.raw", inside::EVIDENCE),
        Reading::Mount if whole => inside::EVIDENCE.to_owned(),
        Reading::Mount => format!("{}/{label}", inside::EVIDENCE),
    }
}

impl OpenFilesystem {
    /// What a cage is given for a reading.
    #[must_use]
    pub fn evidence(&self, reading: Reading) -> CagedEvidence {
        let reading = if self.device.is_some() {
            reading
        } else {
            Reading::Mount
        };
        let inside = path_inside(&self.label, reading);
        match (&self.device, reading) {
            (Some(device), Reading::Raw) => CagedEvidence {
                outside: device.path().to_path_buf(),
                inside,
                device: true,
            },
            _ => CagedEvidence {
                outside: self.mounted.path().to_path_buf(),
                inside,
                device: false,
            },
        }
    }
}

/// Opens a region of a device or image.
///
/// # Errors
/// No loop device can be had or the mount point not be made. A region that cannot be read is no error
/// but an outcome with a sentence.
pub fn open_region(
    source: &Source,
    region: &Region,
    folder: &JobFolder,
) -> Result<Result<OpenFilesystem, Unread>, EngineError> {
    if let Some(unread) = unread_content(&region.content) {
        return Ok(Err(unread));
    }
    let (Content::Filesystem(superblock), Some(backing)) = (&region.content, source.file()) else {
        return Err(system(
            "open a filesystem that is none",
            std::io::ErrorKind::InvalidInput.into(),
        ));
    };
    let Some(plan) = mount_plan(&superblock.kind) else {
        return Err(system(
            "mount an unknown filesystem",
            std::io::ErrorKind::Unsupported.into(),
        ));
    };
    let device = LoopDevice::attach(backing, region.offset, region.length)
        .map_err(|error| system("cover the source", std::io::Error::other(error)))?;
    let label = region.label();
    let target = mount_target(folder, &label)?;
    match mount_filesystem(device.path(), &target, plan) {
        Ok(mounted) => Ok(Ok(OpenFilesystem {
            label,
            superblock: Some(superblock.clone()),
            plan: Some(plan),
            mounted,
            device: Some(device),
        })),
        Err(error) => Ok(Err(refused_mount(&superblock.kind, error.raw_os_error()))),
    }
}

/// Opens a folder source.
///
/// # Errors
/// The folder cannot be bound.
pub fn open_folder(source: &Source, folder: &JobFolder) -> Result<OpenFilesystem, EngineError> {
    let target = mount_target(folder, FOLDER)?;
    let mounted = bind_folder(source.path(), &target)
        .map_err(|error| system("bind the folder read-only", error))?;
    Ok(OpenFilesystem {
        label: FOLDER.to_owned(),
        superblock: None,
        plan: None,
        mounted,
        device: None,
    })
}

fn mount_target(folder: &JobFolder, label: &str) -> Result<PathBuf, EngineError> {
    let target = folder.mount_point(label);
    crate::durable::make_folder(&target)?;
    Ok(target)
}

pub(super) fn system(operation: &str, source: std::io::Error) -> EngineError {
    EngineError::System {
        operation: operation.to_owned(),
        source,
    }
}
