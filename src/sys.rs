//! The few kernel calls that have no safe wrapper: flags of block devices, of descriptors, loop devices, and
//! what an NVMe controller says about itself; and the allocator.
//!
//! Nothing here opens a device; callers pass descriptors that were opened for reading only.
#![expect(
    unsafe_code,
    reason = "ioctls of linux/fs.h, linux/loop.h and linux/nvme_ioctl.h and close_range have no safe wrapper"
)]

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc::{self, c_int};

mod raw {
    use super::{LoopConfig, NvmeCommand};
    use nix::libc::c_int;
    nix::ioctl_write_ptr_bad!(blkroset, 0x125D, c_int);
    nix::ioctl_read_bad!(blkroget, 0x125E, c_int);
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
    nix::ioctl_none_bad!(loop_ctl_get_free, 0x4C82);
    nix::ioctl_write_ptr_bad!(loop_configure, 0x4C0A, LoopConfig);
    nix::ioctl_readwrite!(nvme_admin_command, b'N', 0x41, NvmeCommand);
}

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

/// `struct nvme_passthru_cmd` of linux/nvme_ioctl.h.
#[repr(C)]
#[derive(Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    words_2_and_3: [u32; 2],
    metadata: u64,
    address: u64,
    metadata_length: u32,
    data_length: u32,
    words_10_to_15: [u32; 6],
    timeout_milliseconds: u32,
    result: u32,
}

/// Identify, and its data structure "controller" (NVMe Base Specification).
const NVME_IDENTIFY: u8 = 0x06;
const NVME_IDENTIFY_CONTROLLER: u32 = 1;
const NVME_IDENTIFY_SIZE: u32 = 4096;

/// A controller that does not answer by then is gone; the kernel's own limit is a minute.
const NVME_TIMEOUT_MILLISECONDS: u32 = 2_000;

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

fn descriptor(file: &File) -> RawFd {
    file.as_raw_fd()
}

/// Sets the read-only flag of a block device (`BLKROSET`); needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// The kernel's refusal.
pub fn set_block_read_only(device: &File) -> nix::Result<()> {
    let on: c_int = 1;
    // SAFETY: the descriptor is open for the call and the kernel only reads one int.
    unsafe { raw::blkroset(descriptor(device), &raw const on) }.map(drop)
}

/// Whether the block device's read-only flag is set (`BLKROGET`).
///
/// # Errors
/// The kernel's refusal.
pub fn block_is_read_only(device: &File) -> nix::Result<bool> {
    let mut value: c_int = 0;
    // SAFETY: the descriptor is open for the call and the kernel writes one int.
    unsafe { raw::blkroget(descriptor(device), &raw mut value) }?;
    Ok(value != 0)
}

/// The size of a block device in bytes (`BLKGETSIZE64`).
///
/// # Errors
/// The kernel's refusal.
pub fn block_size_bytes(device: &File) -> nix::Result<u64> {
    let mut value: u64 = 0;
    // SAFETY: the descriptor is open for the call and the kernel writes one u64.
    unsafe { raw::blkgetsize64(descriptor(device), &raw mut value) }?;
    Ok(value)
}

/// The number of a loop device that is free at this moment (`LOOP_CTL_GET_FREE`).
///
/// # Errors
/// The kernel's refusal.
pub fn free_loop_number(control: &File) -> nix::Result<u32> {
    // SAFETY: the descriptor is open for the call and no memory is passed.
    let number = unsafe { raw::loop_ctl_get_free(descriptor(control)) }?;
    u32::try_from(number).map_err(|_| nix::Error::ERANGE)
}

/// Puts a read-only loop over `backing`, from `offset` for `size` bytes, that vanishes when the
/// last user closes it (`LOOP_CONFIGURE` with `LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR`).
///
/// # Errors
/// `EBUSY` when somebody else took the loop first; other refusals of the kernel.
pub fn configure_read_only_loop(
    device: &File,
    backing: &File,
    offset: u64,
    size: u64,
) -> nix::Result<()> {
    let config = LoopConfig {
        fd: u32::try_from(descriptor(backing)).map_err(|_| nix::Error::EBADF)?,
        block_size: 0,
        info: LoopInfo64 {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset,
            sizelimit: size,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: both descriptors are open for the call; the kernel reads one loop_config, whose
    // layout is that of linux/loop.h.
    unsafe { raw::loop_configure(descriptor(device), &raw const config) }.map(drop)
}

/// The 4096 bytes by which an NVMe controller describes itself (`NVME_IOCTL_ADMIN_CMD`), asked through the node
/// of a disk; needs `CAP_SYS_ADMIN` before Linux 6.2.
///
/// # Errors
/// The kernel's refusal, such as `ENOTTY` for a disk that is no NVMe disk; `EIO` if the controller refuses.
pub fn nvme_identify_controller(device: &File) -> nix::Result<Vec<u8>> {
    let mut page = vec![0_u8; NVME_IDENTIFY_SIZE as usize];
    let mut command = NvmeCommand {
        opcode: NVME_IDENTIFY,
        address: page.as_mut_ptr() as u64,
        data_length: NVME_IDENTIFY_SIZE,
        words_10_to_15: [NVME_IDENTIFY_CONTROLLER, 0, 0, 0, 0, 0],
        timeout_milliseconds: NVME_TIMEOUT_MILLISECONDS,
        ..NvmeCommand::default()
    };
    // SAFETY: the descriptor is open for the call; the kernel reads and writes one nvme_passthru_cmd and
    // writes at most data_length bytes at the address, which is that of a buffer of this length.
    let status = unsafe { raw::nvme_admin_command(descriptor(device), &raw mut command) }?;
    // Above zero is the status that the controller gave.
    if status == 0 {
        Ok(page)
    } else {
        Err(nix::Error::EIO)
    }
}

/// Keeps descriptors above standard error, such as those that our own caller left open, from programs that we
/// start (`close_range` with `CLOSE_RANGE_CLOEXEC`, Linux 5.11 and later).
///
/// # Errors
/// The kernel's refusal.
pub fn keep_descriptors() -> nix::Result<()> {
    let (first, last) = (3_u32, u32::MAX);
    // SAFETY: no memory is passed, and with this flag nothing is closed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            last,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    nix::errno::Errno::result(result).map(drop)
}

/// Takes a descriptor that the service manager passed to this process by its number.
#[must_use]
pub fn take_descriptor(number: RawFd) -> OwnedFd {
    // SAFETY: the manager opened it for us, and nobody else in this process knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Whether systemd has handed a control group over to us (`Delegate=`): it marks one with an extended attribute.
#[must_use]
pub fn is_delegated(group: &std::path::Path) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let Ok(path) = std::ffi::CString::new(group.as_os_str().as_bytes()) else {
        return false;
    };
    [c"trusted.delegate", c"user.delegate"].iter().any(|name| {
        let mut value = [0_u8; 4];
        // SAFETY: both names end with a zero, and the kernel writes at most the size that it is told.
        let size = unsafe {
            libc::getxattr(
                path.as_ptr(),
                name.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        size == 1 && value[0] == b'1'
    })
}

/// Makes all threads share one heap. Each would get one of its own, which keeps what its thread took once: with
/// twenty volumes that is more than all that is in use.
pub fn share_heap() {
    // SAFETY: it sets a number of the allocator, before there is a second thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory that is free back to the system. What reading filters takes for a moment, the allocator would
/// keep for ever.
pub fn give_back_memory() {
    // SAFETY: the allocator is asked to release what nobody uses; it locks itself.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loop_structures_have_the_kernel_s_sizes() {
        assert_eq!(size_of::<LoopInfo64>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }

    #[test]
    fn the_nvme_command_has_the_kernel_s_size() {
        assert_eq!(size_of::<NvmeCommand>(), 72);
        let number = nix::request_code_readwrite!(b'N', 0x41, size_of::<NvmeCommand>());
        assert_eq!(number, 0xC048_4E41);
    }

    #[test]
    fn what_is_no_nvme_disk_gives_no_identity() {
        let file = File::open("/dev/null").unwrap();
        assert_eq!(nvme_identify_controller(&file), Err(nix::Error::ENOTTY));
    }
}
