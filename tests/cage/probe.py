#!/usr/bin/env python3
"""Attempts to get out of the cage, each in a child of its own so that a kill is seen too.

usage: probe.py FACTS ANSWER

FACTS is what host.py says about the host (JSON); ANSWER gets the results (JSON). An attempt that gives a
value got through; one that raises, gives None or is killed did not. Run outside of the cage with the same
user and capability it shows which attempts can succeed at all; what would harm the host is left out there
("bare" in FACTS).
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys

MIB = 1 << 20
LIBC = ctypes.CDLL(None, use_errno=True)

# System calls by their numbers on x86-64 (asm/unistd_64.h), as most have no wrapper in Python.
CALLS = {
    "ioctl": 16, "shmget": 29, "clone": 56, "ptrace": 101, "syslog": 103, "setuid": 105, "setgid": 106,
    "capset": 126, "uselib": 134, "personality": 135, "vhangup": 153, "modify_ldt": 154, "pivot_root": 155,
    "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167,
    "reboot": 169, "sethostname": 170, "iopl": 172, "ioperm": 173, "init_module": 175, "quotactl": 179,
    "nfsservctl": 180, "set_mempolicy": 238, "mq_open": 240, "kexec_load": 246, "add_key": 248,
    "request_key": 249, "keyctl": 250, "ioprio_set": 251, "migrate_pages": 256, "unshare": 272,
    "perf_event_open": 298, "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304,
    "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310, "kcmp": 312, "finit_module": 313,
    "seccomp": 317, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438,
    "mount_setattr": 442, "landlock_create_ruleset": 444, "memfd_secret": 447, "x32_getpid": 0x40000000 + 39,
}  # fmt: skip

CLONE_NEW = {
    "user": 0x10000000, "mnt": 0x20000, "net": 0x40000000, "pid": 0x20000000, "cgroup": 0x2000000,
    "time": 0x80,
}  # fmt: skip


class Blocked(Exception):
    """An attempt that a limit stopped, with the limit."""


def call(name, *arguments):
    """Make a system call; an OSError when it fails, else "done" or the number that it gave."""
    ctypes.set_errno(0)
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = LIBC.syscall(ctypes.c_long(CALLS[name]), *words)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result or "done"


def text(value):
    return ctypes.c_char_p(value)


def block(*packed, size=0):
    """Memory for a system call, with a packed structure at its head."""
    content = struct.pack(*packed) if packed else b""
    return ctypes.create_string_buffer(content, max(size, len(content)))


def read(path):
    with open(path, "rb") as file:
        return file.read(64)


def write(path, content=b"x"):
    handle = os.open(path, os.O_WRONLY)
    return os.write(handle, content)


def create(path):
    return f"descriptor {os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)}"


def opened(path, flags=os.O_RDONLY):
    return f"descriptor {os.open(path, flags)}"


def done(function, *arguments):
    """Call a function that gives nothing when it succeeds."""
    function(*arguments)
    return "done"


def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as end:
        end.settimeout(3)
        end.connect(address)
    return "connected"


def new_socket(family, kind, protocol=0):
    return repr(socket.socket(family, kind, protocol))


# --- network


def send_datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        return end.sendto(b"x", ("8.8.8.8", 53))


def set_loopback_down():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        fcntl.ioctl(end, 0x8914, b"lo".ljust(40, b"\0"))  # SIOCSIFFLAGS
    return "set"


def net(facts):
    inet, unix, port = socket.AF_INET, socket.AF_UNIX, facts["port"]
    stream, raw = socket.SOCK_STREAM, socket.SOCK_RAW
    return {
        "a listener on the host's 127.0.0.1": lambda: connect(inet, ("127.0.0.1", port)),
        "the host's own address": lambda: connect(inet, (facts["address"], port)),
        "the internet": lambda: connect(inet, ("1.1.1.1", 80)),
        "the cloud's metadata": lambda: connect(inet, ("169.254.169.254", 80)),
        "a datagram": send_datagram,
        "IPv6": lambda: connect(socket.AF_INET6, ("::1", port)),
        "a raw socket": lambda: new_socket(inet, raw, 1),
        "AF_PACKET": lambda: new_socket(socket.AF_PACKET, raw, 3),
        "AF_NETLINK": lambda: new_socket(socket.AF_NETLINK, raw),
        "AF_VSOCK": lambda: new_socket(40, stream),
        "AF_ALG": lambda: new_socket(38, socket.SOCK_SEQPACKET),
        "an abstract socket of the host": lambda: connect(unix, "\0" + facts["abstract"]),
        "a socket in the host's files": lambda: connect(unix, facts["socket"]),
        "name resolution": lambda: socket.getaddrinfo("example.org", 80),
        "setting lo down": set_loopback_down,
    }


# --- files of the host


def open_by_handle(facts):
    """Open the host's /etc/shadow by its handle, by way of the folder that is on the host's filesystem."""
    handle = ctypes.create_string_buffer(bytes.fromhex(facts["handle"]), 160)
    return os.read(call("open_by_handle_at", os.open(facts["attempt"], os.O_RDONLY), handle, 0), 20)


def name_to_handle(facts):
    handle, mount = block("Ii", 128, 0, size=160), ctypes.c_int()
    return call("name_to_handle_at", -100, text(facts["attempt"].encode()), handle, ctypes.byref(mount), 0)


def files(facts):
    evidence = facts["evidence"]
    seen = ("/root", "/home", "/var", "/run", "/boot", "/sys", facts["secret"])
    attempts = {f"seeing {path}": lambda path=path: done(os.stat, path) for path in seen}
    above = f"{facts['attempt']}/../../../../../../../../etc/shadow"
    return attempts | {
        "reading /etc/shadow": lambda: read("/etc/shadow"),
        "/proc/1/root": lambda: read("/proc/1/root/etc/shadow"),
        "/proc/1/cwd": lambda: os.listdir("/proc/1/cwd"),
        "going up from the work folder": lambda: read(above),
        "a link in the evidence": lambda: read(f"{evidence}/var/log/to-shadow"),
        "a relative link in the evidence": lambda: read(f"{evidence}/var/log/up-to-shadow"),
        "open_by_handle_at": lambda: open_by_handle(facts),
        "name_to_handle_at": lambda: name_to_handle(facts),
    }


def environment(_facts):
    return {
        "a secret of the parent": lambda: os.environ.get("DFAGENT_TEST_CANARY"),
        "/proc/1/environ": lambda: read("/proc/1/environ"),
        "/proc/1/cmdline shows the host's paths": lambda: host_paths(read_all("/proc/1/cmdline")),
        "/proc/cmdline": lambda: read("/proc/cmdline") or None,
    }


def read_all(path):
    with open(path, "rb") as file:
        return file.read()


def host_paths(content):
    return content if b"/tmp/" in content else None


# --- processes


def host_pids(facts):
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return pids if facts["root_pid"] in pids else None


def processes(facts):
    kill = signal.SIGKILL
    return {
        "seeing the host's processes": lambda: host_pids(facts),
        "killing a process of the same user": lambda: done(os.kill, facts["user_pid"], kill),
        "killing a process of root": lambda: done(os.kill, facts["root_pid"], kill),
        "killing process 1": lambda: done(os.kill, 1, kill),
        "ptrace of process 1": lambda: call("ptrace", 16, 1, 0, 0),
        "ptrace of an own child": lambda: call("ptrace", 0, 0, 0, 0),
        "process_vm_readv of process 1": lambda: call("process_vm_readv", 1, 0, 0, 0, 0, 0),
        "/proc/1/mem": lambda: opened("/proc/1/mem", os.O_RDWR),
        "pidfd_getfd of process 1": lambda: call("pidfd_getfd", call("pidfd_open", 1, 0), 0, 0),
        "the namespace of process 1": lambda: call("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), 0),
    }


# --- mounts and namespaces


def mounts(facts):
    evidence, tmp = text(facts["evidence"].encode()), text(b"/tmp")
    attributes = block("QQQQ", 0, 1, 0, 0)

    def mount(kind):
        return lambda: call("mount", text(kind), tmp, text(kind), 0, 0)

    return {
        "tmpfs": mount(b"tmpfs"),
        "proc": mount(b"proc"),
        "sysfs": mount(b"sysfs"),
        "the evidence writable": lambda: call("mount", 0, evidence, 0, 32 | 4096, 0),
        "unmounting the evidence": lambda: call("umount2", evidence, 2),
        "fsopen": lambda: call("fsopen", text(b"tmpfs"), 0),
        "open_tree": lambda: call("open_tree", -100, text(b"/"), 1),
        "move_mount": lambda: call("move_mount", -100, text(b"/"), -100, tmp, 0),
        "mount_setattr": lambda: call("mount_setattr", -100, evidence, 0, attributes, 32),
        "pivot_root": lambda: call("pivot_root", tmp, tmp),
        "chroot": lambda: call("chroot", tmp),
    }


def cloned(flags):
    pid = call("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == "done":
        os._exit(0)
    return pid


def cloned3(flags):
    pid = call("clone3", block("8Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64)
    if pid == "done":
        os._exit(0)
    return pid


def namespaces(_facts):
    user = CLONE_NEW["user"]
    unshared = {f"unshare {name}": flag for name, flag in CLONE_NEW.items()}
    attempts = {name: lambda flag=flag: call("unshare", flag) for name, flag in unshared.items()}
    return attempts | {
        "clone of a user": lambda: cloned(user),
        "clone with a bit beyond the flags": lambda: cloned(user | CLONE_NEW["mnt"] | 1 << 40),
        "clone3 of a user": lambda: cloned3(user),
        "/proc/self/uid_map": lambda: write("/proc/self/uid_map", b"0 0 1"),
    }


# --- devices


def devices(facts):
    attempt, evidence = facts["attempt"], facts["evidence"]
    nodes = (
        "mem", "kmsg", "kmem", "port", "fuse", "kvm", "loop-control", "vda", "sda", "nvme0n1", "loop0",
        "net/tun", "console", "tty", "core", "mapper/control",
    )  # fmt: skip
    attempts = {f"/dev/{name}": lambda name=name: opened(f"/dev/{name}") for name in nodes}
    return attempts | {
        "a new block device": lambda: done(os.mknod, f"{attempt}/vda", stat.S_IFBLK, os.makedev(254, 0)),
        "a new character device": lambda: done(os.mknod, "/tmp/mem", stat.S_IFCHR, os.makedev(1, 1)),
        "a device node in the evidence": lambda: opened(f"{evidence}/dev/null-of-evidence"),
    }


# --- the evidence


def evidence_folder(facts):
    top = f"{facts['evidence']}/srv/open"
    log = f"{top}/public.log"
    return {
        "a new file": lambda: create(f"{top}/x"),
        "writing": lambda: opened(log, os.O_RDWR),
        "truncating": lambda: done(os.truncate, log, 0),
        "another mode": lambda: done(os.chmod, log, 0o777),
        "another time": lambda: done(os.utime, log),
        "an extended attribute": lambda: done(os.setxattr, log, "user.x", b"1"),
        "a second name": lambda: done(os.link, log, f"{top}/second"),
        "another name": lambda: done(os.rename, log, f"{top}/other"),
        "deleting": lambda: done(os.unlink, f"{top}/to-be-deleted.log"),
        "running a program": lambda: subprocess.check_output([f"{top}/program"]),
        "running a set-uid program": lambda: subprocess.check_output([f"{top}/set-uid-program"]),
    }


def evidence_device(facts):
    path = facts["evidence"]

    def ioctl(request, argument=0):
        return lambda: repr(fcntl.ioctl(os.open(path, os.O_RDONLY), request, argument))

    def shared_write():
        return repr(mmap.mmap(os.open(path, os.O_RDONLY), 4096))

    return {
        "opening to read and write": lambda: opened(path, os.O_RDWR),
        "opening to write": lambda: opened(path, os.O_WRONLY),
        "setting it writable": ioctl(0x125D, struct.pack("i", 0)),  # BLKROSET
        "writing": lambda: os.pwrite(os.open(path, os.O_RDONLY), b"x" * 512, 0),
        "BLKDISCARD": ioctl(0x1277, struct.pack("QQ", 0, 512)),
        "BLKZEROOUT": ioctl(0x127F, struct.pack("QQ", 0, 512)),
        "BLKFLSBUF": ioctl(0x1261),
        "BLKRRPART": ioctl(0x125F),
        "LOOP_CLR_FD": ioctl(0x4C01),
        "LOOP_SET_STATUS64": ioctl(0x4C04, b"\0" * 232),
        "LOOP_CHANGE_FD": ioctl(0x4C06, 0),
        "another mode": lambda: done(os.chmod, path, 0o666),
        "mapping it writable": shared_write,
    }


def evidence(facts):
    return evidence_folder(facts) if os.path.isdir(facts["evidence"]) else evidence_device(facts)


# --- privileges


def all_capabilities():
    every, effective = 0xFFFFFFFF, 0x1FF
    header = block("Ii", 0x20080522, 0)
    return call("capset", header, block("6I", every, every, 0, effective, effective, 0))


def set_uid_honoured():
    """The effective user of a set-uid program that waits for a password."""
    pipe = subprocess.PIPE
    waiting = subprocess.Popen(["/usr/bin/su"], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)
    try:
        waiting.stdout.read(1)
        with open(f"/proc/{waiting.pid}/status", encoding="ascii") as file:
            user = next(line for line in file if line.startswith("Uid:")).split()[2]
    finally:
        waiting.kill()
    return "euid 0" if user == "0" else None


def set_uid_file(folder):
    path = f"{folder}/set-uid"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    os.chmod(path, 0o4755)
    return "set" if os.stat(path).st_mode & stat.S_ISUID else None


def privileges(facts):
    return {
        "user 0": lambda: call("setuid", 0),
        "group 0": lambda: call("setgid", 0),
        "groups": lambda: done(os.setgroups, [0]),
        "all capabilities": all_capabilities,
        "a set-uid program": set_uid_honoured,
        "no_new_privs off": lambda: "off" if LIBC.prctl(38, 0, 0, 0, 0) == 0 else None,
        "making a set-uid file": lambda: set_uid_file(facts["attempt"]),
    }


# --- interfaces of the kernel


def kernel(facts):
    key = text(facts["key"].encode())
    event = block("II", 1, 112, size=112)
    listener = block("HxxxxxxQ", 0, 0)
    calls = {
        "bpf": (0, 0, 0),
        "perf_event_open": (event, 0, -1, -1, 0),
        "userfaultfd": (0,),
        "io_uring_setup": (1, block(size=120)),
        "add_key": (text(b"user"), text(b"x"), text(b"y"), 1, -2),
        "request_key": (text(b"user"), key, 0, 0),
        "syslog": (3, block(size=100), 100),
        "kexec_load": (0, 0, 0, 0),
        "init_module": (0, 0, text(b"")),
        "finit_module": (0, text(b""), 0),
        "reboot": (0xFEE1DEAD, 672274793, 0, 0),  # a command that only checks: CAD off
        "swapon": (text(b"/attempt/x"), 0),
        "acct": (0,),
        "quotactl": (0x800001 << 8 & 0xFF, 0, 0, 0),
        "settimeofday": (block("qq", 1, 0), 0),
        "clock_adjtime": (0, block("I", 1, size=208)),
        "iopl": (3,),
        "ioperm": (0x80, 1, 1),
        "modify_ldt": (1, block(size=16), 16),
        "sethostname": (text(b"x"), 1),
        "fanotify_init": (0, 0),
        "personality": (0x0040000,),
        "vhangup": (),
        "landlock_create_ruleset": (0, 0, 1),
        "memfd_secret": (0,),
        "shmget": (facts["shared_memory"], 0, 0),
        "mq_open": (text(facts["queue"].encode()), 0, 0, 0),
        "kcmp": (1, 1, 0, 0, 0),
        "migrate_pages": (1, 1, 0, 0),
        "set_mempolicy": (0, 0, 0),
        "ioprio_set": (1, 0, 1 << 13),
        "seccomp": (1, 8, listener),
        "uselib": (text(b"x"),),
        "nfsservctl": (0, 0, 0),
    }
    attempts = {name: lambda name=name, words=words: call(name, *words) for name, words in calls.items()}
    return attempts | {
        "keyctl: the session's keyring": lambda: call("keyctl", 0, -3, 0),
        "keyctl: a new session": lambda: call("keyctl", 1, 0),
        "a real-time scheduler": lambda: done(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(10)),
        "a better priority": lambda: done(os.setpriority, os.PRIO_PROCESS, 0, -10),
        "protection from the OOM killer": lambda: write("/proc/self/oom_score_adj", b"-1000"),
    }


def proc_write(_facts):
    paths = (
        "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory",
        "/proc/sysrq-trigger", "/proc/self/loginuid", "/proc/self/attr/current",
    )  # fmt: skip
    return {path: lambda path=path: write(path) for path in paths}


def symbol_address():
    with open("/proc/kallsyms", encoding="ascii") as file:
        address = file.readline().split()[0]
    return address if int(address, 16) else None


def io_address():
    with open("/proc/iomem", encoding="ascii") as file:
        first, last = file.readline().split()[0].split("-")
    return (first, last) if int(first, 16) + int(last, 16) else None


def proc_read(_facts):
    paths = ("kmsg", "kcore", "keys", "slabinfo", "pagetypeinfo", "timer_list", "vmallocinfo")
    attempts = {f"/proc/{name}": lambda name=name: read(f"/proc/{name}") or None for name in paths}
    return attempts | {
        "addresses in /proc/kallsyms": symbol_address,
        "addresses in /proc/iomem": io_address,
    }


def tty(_facts):
    sti = 0x5412  # TIOCSTI

    def push_to_own():
        return repr(fcntl.ioctl(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY), sti, b"x"))

    return {
        "TIOCSTI": lambda: repr(fcntl.ioctl(0, sti, b"x")),
        "TIOCSTI with high bits": lambda: call("ioctl", 0, sti | 1 << 32, text(b"x")),
        "TIOCSTI on a terminal of its own": push_to_own,
        "TIOCLINUX": lambda: repr(fcntl.ioctl(0, 0x541C, b"\x02" * 8)),
    }


def abi(facts):
    """The other two ways into the kernel of x86-64."""

    def run_int80():
        answer = subprocess.run([facts["int80"]], capture_output=True, check=False)
        if answer.returncode != 0:
            raise Blocked(f"ended with {answer.returncode}")
        return answer.stdout

    attempts = {"a system call of x32": lambda: call("x32_getpid")}
    return attempts | ({"a system call of i386": run_int80} if facts.get("int80") else {})


def writing(_facts):
    paths = ("/x", "/usr/x", "/plaso/x", "/etc/x", "/dev/x", "/proc/x", "/sys/x")
    return {path: lambda path=path: create(path) for path in paths}


# --- limits


def fork_bomb():
    children, most = [], 2000
    try:
        while len(children) < most:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    except OSError as error:
        raise Blocked(f"{errno.errorcode[error.errno]} after {len(children)} processes") from error
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)
    return len(children)


def large_file(facts):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = f"{facts['attempt']}/large"
    handle = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        return os.pwrite(handle, b"x", facts["file_bytes"])
    finally:
        os.close(handle)
        os.unlink(path)


def fill_shared_memory(most):
    path, written = "/dev/shm/x", 0
    handle = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        while written < most:
            written += os.write(handle, b"\0" * MIB)
    except OSError as error:
        raise Blocked(f"{errno.errorcode[error.errno]} at {written // MIB} MiB") from error
    finally:
        os.close(handle)
        os.unlink(path)
    return written


def many_descriptors():
    handles = []
    try:
        while len(handles) < 10_000:
            handles.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        raise Blocked(f"{errno.errorcode[error.errno]} after {len(handles)} descriptors") from error
    return len(handles)


def memory(size):
    try:
        return len(bytearray(size))
    except MemoryError as error:
        raise Blocked("MemoryError") from error


def raise_limit(which):
    more = resource.getrlimit(which)[1] * 2
    return done(resource.setrlimit, which, (more, more))


def lock_memory():
    size = 64 * MIB
    area = ctypes.create_string_buffer(size)
    return "locked" if LIBC.mlock(area, ctypes.c_size_t(size)) == 0 else None


def limits(facts):
    return {
        "processes": fork_bomb,
        "a large file": lambda: large_file(facts),
        "shared memory": lambda: fill_shared_memory(128 * MIB),
        "descriptors": many_descriptors,
        "memory": lambda: memory(facts["memory_bytes"] + MIB),
        "more descriptors than allowed": lambda: raise_limit(resource.RLIMIT_NOFILE),
        "more memory than allowed": lambda: raise_limit(resource.RLIMIT_DATA),
        "locked memory": lock_memory,
    }


GROUPS = {
    "net": net, "file": files, "env": environment, "proc": processes, "mount": mounts, "ns": namespaces,
    "dev": devices, "evidence": evidence, "priv": privileges, "sys": kernel, "proc write": proc_write,
    "proc read": proc_read, "tty": tty, "abi": abi, "write": writing, "res": limits,
}  # fmt: skip

# Not to be tried where nothing holds them.
ONLY_IN_THE_CAGE = ("res",)


def outcome(attempt):
    """Whether an attempt got through, and what came of it."""
    try:
        value = attempt()
    except OSError as error:
        return False, errno.errorcode.get(error.errno, str(error.errno or error))
    except Exception as error:  # every other end of an attempt is a failure, too
        return False, str(error)[:120]
    return (False, "no effect") if value is None else (True, repr(value)[:150])


def in_child(attempt):
    """The outcome of an attempt that may kill its process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.write(writer, json.dumps(outcome(attempt)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    status = os.waitpid(pid, 0)[1]
    if answer:
        return json.loads(answer)
    if os.WIFSIGNALED(status):
        return False, f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return True, f"status {status} without an answer"


def is_open(number):
    """The descriptor that listed the others is closed again."""
    return os.path.lexists(f"/proc/self/fd/{number}")


def own_state():
    """What the process is, before it does anything."""
    with open("/proc/self/status", encoding="ascii") as file:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    names = (
        "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups",
    )  # fmt: skip
    listed = [int(name) for name in os.listdir("/proc/self/fd")]
    return {
        "status": {name: lines[name].strip() for name in names},
        "descriptors": sorted(number for number in listed if number > 2 and is_open(number)),
        "environment": dict(os.environ),
    }


def main():
    state = own_state()
    with open(sys.argv[1], encoding="utf-8") as file:
        facts = json.load(file)
    if not facts.get("bare"):
        # The agent names a folder or a device for each way of reading.
        facts["evidence"], facts["attempt"] = sys.argv[3], "/attempt"
    probes = []
    for group, make in GROUPS.items():
        if facts.get("bare") and group in ONLY_IN_THE_CAGE:
            continue
        for name, attempt in make(facts).items():
            got_out, answer = in_child(attempt)
            probes.append({"group": group, "name": name, "out": got_out, "answer": answer})
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(state | {"probes": probes}, file, indent=1)


if __name__ == "__main__":
    main()
