"""A disk, and what a real Plaso made of it on this machine: played again in the guest, which is too slow for Plaso to be
broken off at every step. What is played is the recording of tests/agent/replay.py, a slice for each log.

It is made once, by the program that the image has, and kept in target/vm.
"""

import contextlib
import glob
import json
import os
import shutil
import subprocess
import tempfile

import vm

LOGS, LINES = 2, 20
PARSERS = "filestat,text/syslog_traditional"
UUID = "0e7a4c1e-5d0b-4b7e-9a55-3f6f0d9a1c42"
FOLDER = os.path.join(vm.BUILD, "recording")
DISK, TIMELINE = os.path.join(FOLDER, "disk"), os.path.join(FOLDER, "timeline.jsonl")

# Each step takes as long as the guest's file for it says.
PLASO = """#!/bin/sh
if [ "$1" = -I ]; then
    echo '{"plaso":20260720,"python":"3.11.2","libfsxfs":null}'
    exit
fi
case "$*" in *export*) sleep "$(cat /plaso/export-delay)" ;; esac
exec /usr/bin/python3 -B /plaso/replay.py "$@"
"""

CONFIGURATION = """# The installed agent with a recording in Plaso's place.
[plaso]
environment = "/opt/standin"
parsers = ["filestat", "text/syslog_traditional"]
at_once = 1
[work]
reserve_mib = 16
[evidence]
full_hash = true
[attach.evidence]
points = ["/dev/sd[f-p]"]
filter = "/opt/standin/filters"
"""


def make_disk(path):
    """The recorded disk."""
    shutil.copyfile(DISK, path)


def make_plaso(folder):
    """The environment that plays it, with the agent's configuration beside it."""
    _record()
    place = os.path.join(folder, "plaso")
    shutil.copytree(FOLDER, place, ignore=shutil.ignore_patterns("disk", "timeline.jsonl", "out"))
    shutil.copy(os.path.join(vm.TOP, "tests", "agent", "replay.py"), place)
    os.makedirs(os.path.join(place, "bin"))
    for name, text in (("bin/python", PLASO), ("bin/log2timeline", ""), ("export-delay", "0")):
        with open(os.path.join(place, name), "w", encoding="utf-8") as file:
            file.write(text)
    os.chmod(os.path.join(place, "bin/python"), 0o755)
    with open(os.path.join(folder, "test.toml"), "w", encoding="utf-8") as file:
        file.write(CONFIGURATION)


def _record():
    parts = vm.sha256(__file__)
    with open(os.path.join(vm.BUILD, "image.made-of"), encoding="utf-8") as file:
        parts += file.read()
    if vm.is_made_of("recording", parts):
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    filters, logs = os.path.join(FOLDER, "filters"), [f"log{number}" for number in range(LOGS)]
    os.makedirs(filters)
    for number, log in enumerate(logs):
        with open(os.path.join(filters, f"{number}0-part.yaml"), "w", encoding="utf-8") as file:
            file.write(f"type: include\npaths:\n- /var/log/{log}\n")
    _make(DISK, logs)
    job = _process(filters)
    shutil.copy(os.path.join(job, "timeline.jsonl"), TIMELINE)
    with open(TIMELINE, encoding="utf-8") as file:
        documents = file.read().splitlines()
    for number, log in enumerate(logs):
        place = os.path.join(FOLDER, log)
        os.makedirs(place)
        shutil.copy(os.path.join(job, f"slices/{number + 1:02}-part/storage.plaso"), place)
        own = [line for line in documents if f"/var/log/{log}" in json.loads(line)["path_spec"]]
        assert len(own) >= LINES, f"{log}: {len(own)} documents"
        for name, text in (("delay", "0"), ("documents.jsonl", "".join(line + "\n" for line in own))):
            with open(os.path.join(place, name), "w", encoding="utf-8") as file:
                file.write(text)
    shutil.rmtree(os.path.join(FOLDER, "out"))
    vm.made("recording", parts)


def _make(path, logs):
    with tempfile.TemporaryDirectory() as tree:
        folder = os.path.join(tree, "var", "log")
        os.makedirs(folder)
        for number, log in enumerate(logs):
            with open(os.path.join(folder, log), "w", encoding="utf-8") as file:
                for second in range(10, 10 + LINES):
                    file.write(f"Nov 20 10:{10 + number}:{second} disk-1 sshd[9]: line {second} of {log}\n")
        subprocess.run(["mkfs.ext4", "-q", "-F", "-U", UUID, "-d", tree, path, "8M"], check=True)


def _process(filters):
    """Has the program of the package work on the disk, with Plaso; the job's folder."""
    with tempfile.TemporaryDirectory() as folder:
        package = glob.glob(os.path.join(vm.TOP, "out", "deb", "dfagent_*.deb"))[0]
        subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
        words = [os.path.join(folder, "usr/bin/dfagent"), "process", DISK, "--to", os.path.join(FOLDER, "out")]
        words += ["--parsers", PARSERS, "--filter", filters]
        environment = {**os.environ, "DFAGENT__PLASO__ENVIRONMENT": os.path.join(vm.TOP, "target", "plaso")}
        done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    with contextlib.suppress(IndexError):
        return os.path.dirname(glob.glob(os.path.join(FOLDER, "out", "*", "manifest.json"))[0])
    raise AssertionError(f"no job: {done.stdout}")
