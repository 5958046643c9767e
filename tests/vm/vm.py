"""A Debian machine with systemd, udev and real hot-plug of NVMe disks, in QEMU without KVM.

The machine is booted once and its memory kept, so that a test has it in a second. It is about ten times slower than
this one: wait for what is to happen (`wait`), never for a time. Nothing leaves it: of its network, which stands for
EC2's 169.254.169.0/24, it reaches what a test forwards to a server of its own.

Disks are attached writable, as on EC2, so that a write shows in `writes` and in the image's hash instead of being
prevented; give copies. Standard library only.
"""

import base64
import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import ebs

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(os.path.dirname(os.path.dirname(HERE)), "target", "vm")
TOP = os.path.dirname(os.path.dirname(HERE))
# The image's disk, and what changed on it, with the memory, when the machine was running.
ROOT, BOOTED = os.path.join(BUILD, "disk.raw"), os.path.join(BUILD, "booted.qcow2")
COMMAND_LINE = "packaging/image/files/usr/lib/dfagent-image/kernel-command-line"
# Units that cost seconds under emulation and that no test needs.
MASKED = "cloud-init.service cloud-init-local.service cloud-config.service cloud-final.service chrony.service "
MASKED += "systemd-networkd-wait-online.service apt-daily.timer systemd-resolved.service"
QEMU = "qemu-system-x86_64"
# Ports for hot-plug; the one after them is the root's, where the root is NVMe.
SLOTS = 8
PR_SET_PDEATHSIG = 1
ROOT_SERIAL = "vol0aaaaaaaaaaaaaaaa"

_libc = ctypes.CDLL(None)


class Lines:
    """JSON objects, one a line, over a Unix socket."""

    def __init__(self, path):
        end = time.monotonic() + 30
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        self.buffer = b""

    def receive(self, limit=60):
        self.socket.settimeout(limit)
        while b"\n" not in self.buffer:
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError("the machine closed the connection")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def send(self, message):
        self.socket.sendall((json.dumps(message) + "\n").encode())


class Machine:
    """A machine on the image that ships. `root` is "virtio" (it can be restored), a path of a disk that such a machine
    left, or "nvme" (the root is an NVMe disk in the last slot, as on an instance). Changes are in a file of the
    machine's own. With `grub` the firmware and GRUB begin it, with the image's own words for the kernel, and not QEMU.
    `forward` has ports of servers on this machine by the address that the guest has for them ("169.254.169.254:80")."""

    def __init__(self, root="virtio", restored=False, paused=False, grub=False, forward=None):
        self.folder = tempfile.mkdtemp(prefix="dfagent-vm-")
        self.events = []
        words = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-M", "q35,accel=tcg"]
        words += ["-cpu", "qemu64", "-m", "1536", "-smp", "2", *self._network(forward or {})]
        words += [] if grub else self._kernel()
        for slot in range(SLOTS + 1):
            words += ["-device", f"pcie-root-port,id=port{slot},bus=pcie.0,chassis={slot + 1},slot={slot + 1}"]
        words += self._root(root, restored)
        words += ["-serial", f"file:{self.folder}/console", "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"]
        words += ["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=channel,name=channel"]
        words += ["-chardev", f"socket,id=channel,path={self.folder}/channel,server=on,wait=off"]
        words += ["-object", "rng-random,filename=/dev/urandom,id=random", "-device", "virtio-rng-pci,rng=random"]
        if restored:
            words += ["-loadvm", "booted"]
        if paused:
            words += ["-S"]
        with open(f"{self.folder}/errors", "wb") as errors:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stderr=errors,
                # A killed test leaves no machine.
                preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
            )
        self.monitor = Lines(f"{self.folder}/qmp")
        self.monitor.receive()
        self.qmp("qmp_capabilities")
        self.channel = None

    @staticmethod
    def _kernel():
        """The image's kernel, with the image's words for it and some that save time."""
        with open(os.path.join(TOP, COMMAND_LINE), encoding="utf-8") as file:
            words = [line.partition("#")[0].strip() for line in file]
        words += ["systemd.show_status=0 mitigations=off nokaslr audit=0 apparmor=0 tsc=reliable cloud-init=disabled"]
        words += [f"systemd.mask={unit}" for unit in MASKED.split()]
        files = [os.path.join(BUILD, name) for name in ("vmlinuz", "initrd")]
        return ["-kernel", files[0], "-initrd", files[1], "-append", " ".join(words)]

    def _root(self, kind, restored):
        self.root = os.path.join(self.folder, "root.qcow2")
        if restored:
            shutil.copyfile(BOOTED, self.root)
        elif kind in ("virtio", "nvme"):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", ROOT, self.root], check=True)
        else:
            shutil.move(kind, self.root)
        words = ["-drive", f"file={self.root},if=none,id=root,format=qcow2,cache=unsafe"]
        if kind == "nvme":
            return [*words, "-device", f"nvme,drive=root,serial={ROOT_SERIAL},bus=port{SLOTS},bootindex=1"]
        return [*words, "-device", "virtio-blk-pci,drive=root,serial=root,bootindex=1"]

    @staticmethod
    def _network(forward):
        """A wire to nobody, but for what is forwarded: each connection gets a process of its own."""
        net = "user,id=net,restrict=on,ipv6=off,net=169.254.169.0/24,host=169.254.169.2,dns=169.254.169.3"
        net += ",dhcpstart=169.254.169.15"
        for address, port in forward.items():
            net += f",guestfwd=tcp:{address}-cmd:{sys.executable} -B {HERE}/pipe.py {port}"
        return ["-netdev", net, "-device", "virtio-net-pci,netdev=net,romfile="]

    # --- QEMU's monitor

    def qmp(self, command, **arguments):
        """Has QEMU do something; returns its answer."""
        message = {"execute": command, "arguments": arguments} if arguments else {"execute": command}
        self.monitor.send(message)
        while True:
            answer = self.monitor.receive()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']}")
            else:
                return answer["return"]

    def _deleted(self, disk, limit=60):
        """Waits until the guest has let a device go."""
        end = time.monotonic() + limit
        while True:
            for event in self.events:
                if event["event"] == "DEVICE_DELETED" and event["data"].get("device") == disk:
                    self.events.remove(event)
                    return
            answer = self.monitor.receive(max(end - time.monotonic(), 0.01))
            if "event" in answer:
                self.events.append(answer)

    # --- a root shell in the guest

    def connect(self, limit=300):
        """Waits for the shell of a machine that is booting."""
        self.channel = Lines(f"{self.folder}/channel")
        self.channel.receive(limit)

    def try_run(self, command, limit=60):
        """Runs a shell command; returns its "code", "out" and "err"."""
        self.channel.send({"run": command, "limit": limit})
        return self.channel.receive(limit + 60)

    def run(self, command, limit=60):
        """Runs a shell command that must succeed; returns its output."""
        done = self.try_run(command, limit)
        if done["code"] != 0:
            raise RuntimeError(f"{command!r} ended with {done['code']}: {done['out']}{done['err']}")
        return done["out"]

    def wait(self, command, limit=60):
        """Waits until a shell command succeeds; returns its output."""
        end = time.monotonic() + limit
        while True:
            done = self.try_run(command)
            if done["code"] == 0:
                return done["out"]
            if time.monotonic() > end:
                raise TimeoutError(f"{command!r} did not succeed in {limit} s: {done['out']}{done['err']}")
            time.sleep(0.05)

    # --- disks

    def _plug(self, image, slot, driver, read_only=False, **device):
        disk = f"disk{slot}"
        file = {"driver": "file", "filename": os.path.abspath(image), "locking": "off", "read-only": read_only}
        self.qmp("blockdev-add", **{"driver": "raw", "node-name": f"n-{disk}", "read-only": read_only, "file": file})
        self.qmp("device_add", driver=driver, id=disk, bus=f"port{slot}", drive=f"n-{disk}", **device)
        return disk

    def plug_plain(self, image, slot, serial, read_only=True):
        """Attaches an image as a disk of no cloud's; the guest has it below /dev/disk/by-id/virtio-*."""
        return self._plug(image, slot, "virtio-blk-pci", read_only=read_only, serial=serial)

    def plug(self, image, slot, serial, attachment, model=ebs.EBS):
        """Attaches an image as an EBS volume (serial number "vol" and 17 digits), or as an instance store."""
        was_running = self.qmp("query-status")["running"]
        if was_running:
            self.qmp("stop")
        try:
            before = ebs.controllers(self.process.pid)
            disk = self._plug(image, slot, "nvme", serial=serial)
            ebs.rewrite(self.process.pid, serial, attachment, model, before)
        finally:
            if was_running:
                self.qmp("cont")
        return disk

    def pull(self, disk):
        """Detaches a disk, used or not."""
        self.qmp("device_del", id=disk)
        self._deleted(disk)
        for _ in range(100):
            with contextlib.suppress(RuntimeError):
                self.qmp("blockdev-del", **{"node-name": f"n-{disk}"})
                return
            time.sleep(0.05)

    def counters(self, disk):
        """What the disk was asked for, counted outside of the guest."""
        for block in self.qmp("query-blockstats"):
            if block.get("node-name") == f"n-{disk}" or disk in block.get("qdev", ""):
                return block["stats"]
        raise RuntimeError(f"QEMU knows no {disk}")

    def writes(self, disk):
        """Writes and discards; a flush carries no data."""
        counters = self.counters(disk)
        return counters["wr_operations"] + counters["unmap_operations"]

    # --- its end

    def console(self):
        """The last lines of the console, and what QEMU said."""
        texts = []
        for name in ("console", "errors"):
            with open(f"{self.folder}/{name}", encoding="utf-8", errors="replace") as file:
                texts.append(file.read()[-2000:])
        return "\n".join(texts)

    def power_cut(self):
        """Ends the machine as if somebody pulled its plug; disks keep what had reached them."""
        self.process.kill()
        self.process.wait()

    def close(self):
        """Ends the machine at once."""
        with contextlib.suppress(Exception):
            self.qmp("quit")
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind:
                print(f"the machine's console:\n{self.console()}")
            if kind and self.channel:
                print(self.try_run("journalctl -b -o short-monotonic | tail -n 60")["out"])
        finally:
            self.close()


def restore(forward=None):
    """A running machine, from the memory of one that was booted."""
    machine = Machine(restored=True, forward=forward)
    if machine.qmp("query-status")["status"] == "paused":
        machine.qmp("cont")
    machine.channel = Lines(f"{machine.folder}/channel")
    machine.channel.send({"wake": base64.b64encode(os.urandom(32)).decode(), "now": time.time()})
    machine.channel.receive()
    return machine


def _save():
    """Boots a machine, waits until systemd is done, and keeps its memory and its disk."""
    with Machine() as machine:
        machine.connect()
        machine.wait("systemctl is-system-running | grep -qE 'running|degraded'", 300)
        machine.run("sync; echo 3 >/proc/sys/vm/drop_caches; udevadm settle")
        machine.qmp("stop")
        said = machine.qmp("human-monitor-command", **{"command-line": "savevm booted"})
        if said:
            raise RuntimeError(f"the machine's memory could not be kept: {said}")
        machine.qmp("quit")
        machine.process.wait(60)
        shutil.move(machine.root, BOOTED)


def sha256(path):
    """The hash of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_made_of(name, parts):
    """Whether what is cached under a name was made of these parts; if not, it is to be made now."""
    path = os.path.join(BUILD, f"{name}.made-of")
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        if file.read() == parts:
            return True
        os.unlink(path)
    return False


def made(name, parts):
    """Keeps of what parts it was made."""
    with open(os.path.join(BUILD, f"{name}.made-of"), "w", encoding="utf-8") as file:
        file.write(parts)


# What the image is made of.
SHIPPED = ["Cargo.toml", "Cargo.lock", "build.rs", "src", "packaging", "systemd", "debian", "docs", "tests/vm/build", "tests/vm/guest/channel*"]


def prepare():
    """Builds and boots what is not there yet, or was made of something else."""
    os.makedirs(BUILD, exist_ok=True)
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *SHIPPED]
    shipped = subprocess.run(listed, cwd=TOP, stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    hashes = {name: sha256(path) for name in shipped if os.path.exists(path := os.path.join(TOP, name))}
    image = hashlib.sha256("".join(f"{name} {hash}\n" for name, hash in hashes.items()).encode()).hexdigest()
    if not is_made_of("image", image):
        subprocess.run([os.path.join(HERE, "build"), BUILD], check=True)
        made("image", image)
    version = subprocess.run([QEMU, "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout
    memory = f"{image}\n{sha256(os.path.join(HERE, 'vm.py'))}\n{version}"
    if not is_made_of("memory", memory):
        _save()
        made("memory", memory)
