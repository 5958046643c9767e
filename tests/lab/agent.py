"""A real agent beside a real udevd, for the demonstration and the benchmarks.

To be used inside the namespaces that udev.sh makes. Loop devices belong to the whole machine: only
numbers that this module added itself are touched, and they are removed at the end.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, "target", "release", "dfagent")
PLASO = os.path.join(ROOT, "target", "plaso")

# linux/loop.h
LOOP_CTL_ADD, LOOP_CTL_REMOVE = 0x4C80, 0x4C81

# The first number that is tried: far above those that other programs get.
FIRST = 700


class Loops:
    """Fresh loop devices; attaching a disk to one is what a udevd sees as a new volume."""

    def __init__(self, count):
        self.numbers = []
        self.attached = []
        with open("/dev/loop-control", "rb") as control:
            number = FIRST
            while len(self.numbers) < count:
                if not os.path.exists(f"/sys/block/loop{number}"):
                    fcntl.ioctl(control, LOOP_CTL_ADD, number)
                    self.numbers.append(number)
                number += 1

    @property
    def nodes(self):
        """The nodes, in order."""
        return [f"/dev/loop{number}" for number in self.numbers]

    def attach(self, image):
        """Attaches an image, read-only, to the next free loop; returns its node."""
        node = self.nodes[len(self.attached)]
        subprocess.run(["losetup", "--read-only", node, image], check=True)
        self.attached.append(node)
        return node

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in self.attached:
            subprocess.run(["losetup", "--detach", node], check=False)
        with open("/dev/loop-control", "rb") as control:
            for number in self.numbers:
                remove(control, number)


def remove(control, number):
    """Removes a loop device; it is busy for a moment after its last user has closed it."""
    for _ in range(100):
        try:
            fcntl.ioctl(control, LOOP_CTL_REMOVE, number)
            return
        except OSError:
            select.select([], [], [], 0.05)
    print(f"/dev/loop{number} is still busy and stays")


def configure(path, directory, nodes, more="", **attach):
    """Writes a configuration under which these loop devices, and nothing else, are evidence; `more` is added."""
    rules = {"points": nodes, **attach}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in rules.items())
    filters = os.path.join(directory, "filters")
    os.makedirs(filters, exist_ok=True)
    text = f"""[agent]
directory = "{directory}"
socket = "{directory}/dfagent.sock"
[filter]
directory = "{filters}"
[plaso]
environment = "{PLASO}"
[devices]
loops = true
[attach.evidence]
{lines}
{more}"""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


@contextlib.contextmanager
def watching(config):
    """Shows the live status while the block runs."""
    command = [PROGRAM, "--config", config, "status", "--watch"]
    with subprocess.Popen(command) as watch:
        try:
            yield
            # What was shown last is a moment old.
            time.sleep(1.5)
        finally:
            watch.send_signal(signal.SIGINT)


class Agent:
    """`dfagent run`, ready when the block is entered and stopped in order when it is left."""

    def __init__(self, config, log=None):
        self.config = config
        self.log = log
        self.process = None

    def __enter__(self):
        path = os.path.join(os.path.dirname(self.config), "notify.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(60)
            environment = {**os.environ, "NOTIFY_SOCKET": path}
            command = [PROGRAM, "--config", self.config, "run"]
            log = open(self.log, "ab") if self.log else subprocess.DEVNULL
            self.process = subprocess.Popen(command, env=environment, stderr=log)
            while "READY=1" not in notify.recv(4096).decode():
                pass
        os.unlink(path)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait()
        if code != 0:
            raise SystemExit(f"the agent ended with exit code {code}")

    def status(self):
        """What `dfagent status --json` says."""
        command = [PROGRAM, "--config", self.config, "status", "--json"]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)

    def wait_until_done(self, count, look=lambda status: None):
        """Waits until so many jobs are done; returns their folders by id. `look` is shown every status."""
        while True:
            status = self.status()
            look(status)
            jobs = [one["job"] for one in status["jobs"]]
            done = [job for job in jobs if job["state"]["name"] == "done"]
            if len(done) == count:
                return {job["id"]: job["folder"] for job in done}
            stuck = [job for job in jobs if job["state"]["name"] in ("needs_operator", "parked")]
            if stuck or self.process.poll() is not None:
                raise SystemExit(f"the agent is stuck: {json.dumps(stuck)}")
            time.sleep(0.5)
