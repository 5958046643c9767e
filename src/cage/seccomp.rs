//! The two seccomp filters of the cage.
//!
//! The first is an allow-list; what is not on it fails with `ENOSYS`, which makes glibc fall back where
//! it can (`clone3` to `clone`). The second gives netlink sockets `EOPNOTSUPP`, the one answer that lets
//! libzmq start without them. When both refuse, the errno of the filter installed last is seen.
//! Without the filter a process with `CAP_DAC_READ_SEARCH` could read any file of the host by
//! `open_by_handle_at`, and detach the evidence's loop device.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// A filter that could not be built.
#[derive(Debug, thiserror::Error)]
#[error("build the seccomp filter")]
pub struct SeccompError(#[from] seccompiler::BackendError);

/// All bits of `clone` flags that make a namespace (`CLONE_NEW*` of linux/sched.h).
const NEW_NAMESPACES: u64 = 0x7E02_0000;

/// `TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX BLKROGET BLKGETSIZE BLKSSZGET BLKPBSZGET
/// BLKGETSIZE64 HDIO_GET_IDENTITY CDROMREADTOCHDR`: what Python and the libyal libraries ask for.
const IOCTLS: [u64; 13] = [
    0x5401,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
    0x125E,
    0x1260,
    0x1268,
    0x127B,
    0x8008_1272,
    0x30D,
    0x5305,
];

const SET_ID_BITS: u64 = 0o6000;

/// Calls that are allowed with any arguments on every architecture.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_brk,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_chdir,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_connect,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchdir,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getitimer,
    libc::SYS_getpeername,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_getxattr,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_kill,
    libc::SYS_lgetxattr,
    libc::SYS_linkat,
    libc::SYS_listen,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mincore,
    libc::SYS_mkdirat,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_prlimit64,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readahead,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_yield,
    libc::SYS_sendfile,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_setitimer,
    libc::SYS_setpgid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setsid,
    libc::SYS_setsockopt,
    libc::SYS_setuid,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_socketpair,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_sync_file_range,
    libc::SYS_sysinfo,
    libc::SYS_tee,
    libc::SYS_tgkill,
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_gettime,
    libc::SYS_timer_settime,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_times,
    libc::SYS_tkill,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_vmsplice,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Older spellings that only x86-64 still has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_creat,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_fork,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_inotify_init,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_setrlimit,
    libc::SYS_signalfd,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// The two filters, allow-list first, as the bytes that bubblewrap reads.
///
/// # Errors
/// Only on an architecture that seccompiler does not know.
pub fn filters() -> Result<(Vec<u8>, Vec<u8>), SeccompError> {
    let arch = std::env::consts::ARCH.try_into()?;
    let refuse = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let allow = SeccompFilter::new(allow_rules()?, refuse, SeccompAction::Allow, arch)?;
    let family = SeccompCmpArgLen::Dword;
    let netlink = rule(
        0,
        family,
        SeccompCmpOp::Eq,
        u64::from(libc::AF_NETLINK.unsigned_abs()),
    )?;
    let refuse = SeccompAction::Errno(libc::EOPNOTSUPP.unsigned_abs());
    let netlink = BTreeMap::from([(libc::SYS_socket, vec![netlink])]);
    let netlink = SeccompFilter::new(netlink, SeccompAction::Allow, refuse, arch)?;
    Ok((program_bytes(allow)?, program_bytes(netlink)?))
}

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

fn allow_rules() -> Result<Rules, SeccompError> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, MaskedEq};
    let mut rules: Rules = ALLOWED
        .iter()
        .chain(ALLOWED_HERE)
        .map(|number| (*number, Vec::new()))
        .collect();
    rules.insert(
        libc::SYS_clone,
        vec![rule(0, Qword, MaskedEq(NEW_NAMESPACES), 0)?],
    );
    let families = [libc::AF_UNIX, libc::AF_INET].map(|family| u64::from(family.unsigned_abs()));
    rules.insert(
        libc::SYS_socket,
        any(&families, |family| rule(0, Dword, Eq, family))?,
    );
    rules.insert(
        libc::SYS_ioctl,
        any(&IOCTLS, |request| rule(1, Dword, Eq, request))?,
    );
    let no_set_id = |argument| rule(argument, Dword, MaskedEq(SET_ID_BITS), 0);
    rules.insert(libc::SYS_fchmod, vec![no_set_id(1)?]);
    rules.insert(libc::SYS_fchmodat, vec![no_set_id(2)?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_chmod, vec![no_set_id(1)?]);
    Ok(rules)
}

fn any(
    values: &[u64],
    rule: impl Fn(u64) -> Result<SeccompRule, SeccompError>,
) -> Result<Vec<SeccompRule>, SeccompError> {
    values.iter().map(|value| rule(*value)).collect()
}

fn rule(
    argument: u8,
    length: SeccompCmpArgLen,
    compare: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, SeccompError> {
    let condition = SeccompCondition::new(argument, length, compare, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

/// `struct sock_filter` of linux/filter.h, one after the other.
fn program_bytes(filter: SeccompFilter) -> Result<Vec<u8>, SeccompError> {
    let program: BpfProgram = filter.try_into()?;
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for instruction in program {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dangerous_calls_are_not_on_the_list() {
        let rules = allow_rules().unwrap();
        for (name, number) in [
            ("open_by_handle_at", libc::SYS_open_by_handle_at),
            ("mount", libc::SYS_mount),
            ("ptrace", libc::SYS_ptrace),
            ("bpf", libc::SYS_bpf),
            ("unshare", libc::SYS_unshare),
            ("clone3", libc::SYS_clone3),
            ("keyctl", libc::SYS_keyctl),
            ("process_vm_readv", libc::SYS_process_vm_readv),
        ] {
            assert!(!rules.contains_key(&number), "{name}");
        }
    }

    #[test]
    fn both_filters_compile_below_the_kernel_s_limit() {
        let (allow, netlink) = filters().unwrap();
        assert!(allow.len() / 8 < 4096, "BPF_MAXINSNS");
        assert!(!netlink.is_empty());
    }
}
