"""What holds the cage and the agent under the real units: attempts to get out, limits, secrets."""

import base64
import gzip
import json
import os
import secrets
import subprocess
import tempfile

import vm
from rig import FIRST, FIRST_ID, SECOND, SECOND_ID, Lab, claim, make_logs, state

CAGE = os.path.join(vm.TOP, "tests", "cage")
GUEST = os.path.join(vm.HERE, "guest")
CAGES = "/sys/fs/cgroup/system.slice/dfagent.service/dfagent"
PASSWORD = "/etc/credstore/dfagent.timesketch-password"
GIVEN = "/run/credentials/dfagent-delivery.service/timesketch-password"

LIMITS = "[cage]\nmemory_mib = 512\nprocesses = 64\nfile_mib = 100\n"
# The server is not there.
DELIVERY = '[delivery]\nto = "upload"\n[timesketch]\nurl = "https://169.254.169.99"\nuser = "dfagent"\n'

# In the place of Plaso's Python: the last argument is the evidence.
PYTHON = """#!/bin/sh
if [ "$1" = -I ]; then
    echo '{"plaso":20260720,"python":"3.11.2","libfsxfs":null}'
else
    %s
fi
"""
PROBES = """for last; do :; done
    exec /usr/bin/python3 -B /plaso/unit_probe.py /plaso/facts.json /attempt/log2timeline.log.gz "$last" """
MEMORY = 'exec /usr/bin/python3 -B /plaso/deeds.py take_memory_of_many "$@"'
READS = 'exec /usr/bin/python3 -B /plaso/standin.py "$@"'

# Groups of attempts, and the fewest in each.
FEWEST = {
    "net": 15, "file": 15, "env": 4, "proc": 10, "mount": 11, "ns": 10, "dev": 19, "evidence": 13, "priv": 7, "sys": 39,
    "proc write": 6, "proc read": 9, "tty": 4, "abi": 2, "write": 7, "res": 8, "unit": 25,
}  # fmt: skip

# A system call by the interrupt of i386.
INT80 = """int main(void) {
    long pid = 20; /* getpid */
    __asm__ volatile("int $0x80" : "+a"(pid));
    return pid <= 0;
}
"""

# Where the secret stands in what root can see of processes; and whether it is in the agent's memory.
LOOK = """
import glob, re, sys
marker, agent = sys.argv[1].encode(), sys.argv[2]
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    own = "/self/" in path or path.split("/")[2] == str(__import__("os").getpid())
    try:
        if not own and marker in open(path, "rb").read():
            print(path)
    except OSError:
        pass
with open(f"/proc/{agent}/maps") as maps, open(f"/proc/{agent}/mem", "rb", 0) as memory:
    for begin, end in re.findall(r"^(\\w+)-(\\w+) rw", maps.read(), re.M):
        memory.seek(int(begin, 16))
        if marker in memory.read(int(end, 16) - int(begin, 16)):
            print("the agent's memory")
"""


def put(machine, path, content, mode=0o644):
    """Writes a file in the guest."""
    data = content if isinstance(content, bytes) else content.encode()
    text = base64.b64encode(gzip.compress(data)).decode()
    machine.run(f"mkdir -p {os.path.dirname(path)} && base64 -d <<'.' | gunzip >{path} && chmod {mode:o} {path}\n{text}\n.")


def put_file(machine, path, source):
    """Copies a file of the checkout to the guest."""
    with open(source, "rb") as file:
        put(machine, path, file.read())


def python(machine, deed):
    """Sets what Plaso's Python does."""
    put(machine, "/opt/standin/bin/python", PYTHON % deed, 0o755)


def make_one(path):
    """A disk with one log: a slice for it, and one for the folders that it is in."""
    make_logs(path, {"auth.log": ["Nov 20 10:00:00 web-01 sshd[1]: a line\n"]})


def int80():
    """A program that calls the kernel by the other way."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/int80.c", "w", encoding="utf-8") as file:
            file.write(INT80)
        subprocess.run(["cc", "-s", "-o", f"{folder}/int80", f"{folder}/int80.c"], check=True)
        with open(f"{folder}/int80", "rb") as file:
            return file.read()


def give_secret(machine):
    """A password in the store, and both services with it; returns the password."""
    marker = f"marked-{secrets.token_hex(12)}"
    put(machine, PASSWORD, marker + "\n", 0o600)
    machine.run("chmod 700 /etc/credstore")
    put(machine, "/etc/dfagent/conf.d/30-delivery.toml", DELIVERY)
    machine.run("systemctl restart dfagent-delivery", 240)
    return marker


def pid_of(machine, unit):
    """The main process of a unit."""
    return machine.run(f"systemctl show {unit} -P MainPID").strip()


@claim
def nothing_gets_out_of_a_cage_under_the_unit_and_its_limits_hold():
    with vm.restore() as machine:
        lab = Lab(machine)
        lab.install()
        marker = give_secret(machine)
        put(machine, "/etc/dfagent/conf.d/40-limits.toml", LIMITS)
        put_file(machine, "/root/host.py", f"{CAGE}/host.py")
        user = machine.run("id -u dfagent-cage").strip()
        # What must not be reached; it stays as long as its input is open.
        machine.run("mkdir -p /run/host; systemd-run --quiet --unit=host sh -c 'tail -f /dev/null | python3 -B /root/host.py /run/host %s'" % user)
        facts = json.loads(machine.wait("python3 -m json.tool /run/host/facts.json", 120))
        facts |= {"file_bytes": 100 << 20, "memory_bytes": 512 << 20, "int80": "/plaso/int80", "marker": marker}
        put(machine, "/opt/standin/facts.json", json.dumps(facts))
        put(machine, "/opt/standin/int80", int80(), 0o755)
        put_file(machine, "/opt/standin/probe.py", f"{CAGE}/probe.py")
        put_file(machine, "/opt/standin/unit_probe.py", f"{GUEST}/unit_probe.py")
        python(machine, PROBES)
        lab.start()
        disk = lab.plug(0, FIRST, "/dev/sdf", make=make_one)
        # The log, and the folders that it is in: two slices, at once.
        answers = f"find /var/lib/dfagent/jobs/{FIRST_ID} -name log2timeline.log.gz"
        machine.wait(f"test $({answers} | wc -l) = 2", 240)
        for kept in machine.run(answers).split():
            judge(json.loads(machine.run(f"cat {kept}")), user)
        held(machine, user)
        assert pid_of(machine, "host") != "0", "what is outside was reached and ended"

        machine.run("systemctl stop host; touch /opt/standin/finish", 120)
        lab.wait_for(lambda jobs: state(jobs, FIRST_ID) in ("done", "failed"))
        lab.wait_until_nothing_is_left(60)
        lab.pull(disk)


def judge(answer, user):
    """Nothing got through, everything was tried, and the process in the cage is nobody."""
    tried = answer["probes"]
    for group, fewest in FEWEST.items():
        count = sum(one["group"] == group for one in tried)
        assert count >= fewest, f"{count} attempts of {group}"
    through = [f"{one['group']}: {one['name']}: {one['answer']}" for one in tried if one["out"]]
    assert not through, f"got through: {json.dumps(through, indent=1)}"
    print(f"{len(tried)} attempts, none got through")
    status = answer["status"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        # CAP_DAC_READ_SEARCH alone.
        assert status[name] == "0000000000000004", status
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
    assert set(status["Uid"].split()) == {user} and status["Groups"] == "", status
    assert answer["descriptors"] == [], answer["descriptors"]
    # Of 64 processes; and what one cage has is not taken from the other.
    bomb = next(one for one in tried if one["group"] == "res" and one["name"] == "processes")
    assert bomb["answer"].startswith("EAGAIN after ") and 40 < int(bomb["answer"].split()[2]) < 64, bomb
    assert answer["crowd"] == 40, answer["crowd"]


def held(machine, user):
    """The cages as the machine sees them: their limits are the kernel's, and all of each is in a group of its own."""
    nodes = machine.run(f"ls -d {CAGES}/*/").split()
    assert len(nodes) == 2, nodes
    for node in nodes:
        said = machine.run(f"cd {node}; cat memory.max pids.max memory.oom.group memory.swap.max").split()
        assert said == [str(512 << 20), "64", "1", "0"], said
        stopped = machine.run(f"cat {node}/pids.events").split()
        assert stopped[0] == "max" and int(stopped[1]) > 0, f"the fork bomb was stopped by something else: {stopped}"
    groups = machine.run(f"cat $(pgrep -u {user} -f unit_probe | sed 's,.*,/proc/&/cgroup,') | sort -u").split()
    assert groups == [f"0::{node.removeprefix('/sys/fs/cgroup').rstrip('/')}" for node in sorted(nodes)], groups
    assert machine.run(f"cat {CAGES}/cpu.weight").strip() == "50"


@claim
def a_slice_that_runs_out_of_memory_ends_alone_and_is_told_in_words():
    with vm.restore() as machine:
        lab = Lab(machine)
        lab.install()
        put(machine, "/etc/dfagent/conf.d/40-limits.toml", LIMITS)
        put_file(machine, "/opt/standin/deeds.py", f"{CAGE}/standin.py")
        python(machine, MEMORY)
        lab.start()
        before = machine.run("systemctl show dfagent -P MainPID -P InvocationID")
        first = lab.plug(0, FIRST, "/dev/sdf", make=make_one)
        jobs = lab.wait_for(lambda jobs: state(jobs, FIRST_ID) in ("done", "failed", "parked"), 240)
        assert jobs[FIRST_ID]["job"]["state"] == {"name": "done", "verdict": "failed"}, jobs
        assert "ran out of memory" in json.dumps(jobs[FIRST_ID]["result"]["reasons"]), jobs
        shown = machine.try_run("dfagent status")["out"]
        assert "ran out of memory" in shown, shown
        manifest = json.loads(machine.run(f"cat {jobs[FIRST_ID]['job']['folder']}/manifest.json"))
        ends = [one["ended"] for one in manifest["slices"]]
        assert ends and all(end == {"how": "out_of_memory"} for end in ends), ends

        # The kernel ended the cage and nothing else.
        killed = machine.run("journalctl -k -o cat | grep -E 'oom-kill:|Killed process' || true")
        assert "dfagent.service/dfagent/" in killed, killed
        assert machine.run("systemctl show dfagent -P MainPID -P InvocationID") == before, "the agent is another one"
        ended = machine.run("systemctl show dfagent -P NRestarts -P Result -P ActiveState").split()
        assert sorted(ended) == ["0", "active", "success"], ended
        assert machine.run("sed -n 's/^oom_kill //p' /sys/fs/cgroup/system.slice/dfagent.service/agent/memory.events").strip() == "0"
        lab.wait_until_nothing_is_left(60)

        # The next volume has its turn.
        python(machine, READS)
        second = lab.plug(1, SECOND, "/dev/sdg", make=make_one)
        lab.wait_until_read(SECOND_ID)
        machine.run("systemctl stop dfagent", 120)
        lab.wait_until_nothing_is_left(60)
        for disk in (first, second):
            lab.pull(disk)


@claim
def the_password_is_delivery_s_alone():
    with vm.restore() as machine:
        lab = Lab(machine)
        lab.install()
        marker = give_secret(machine)
        lab.start()
        disk = lab.plug(0, FIRST, "/dev/sdf", make=make_one)
        lab.wait_until_read(FIRST_ID)
        agent, delivery = pid_of(machine, "dfagent"), pid_of(machine, "dfagent-delivery")
        as_delivery = "setpriv --reuid dfagent-delivery --regid dfagent-delivery --clear-groups"
        assert machine.run(f"nsenter -t {delivery} -m {as_delivery} cat {GIVEN}").strip() == marker
        for path in (PASSWORD, GIVEN, "/var/lib/dfagent/jobs"):
            done = machine.try_run(f"nsenter -t {delivery} -m {as_delivery} ls {path}/ {path}")
            assert path == GIVEN or done["code"] != 0 or not done["out"].strip(), f"delivery sees {path}: {done}"
        not_the_agent_s(machine, agent, delivery, marker)
        nowhere_else(machine, agent, marker)
        dies_without_a_trace(machine, delivery, marker)

        machine.run("systemctl stop dfagent", 120)
        lab.wait_until_nothing_is_left(60)
        lab.pull(disk)


def not_the_agent_s(machine, agent, delivery, marker):
    """From where the agent is, with its rights, there is no way to the password."""
    bound = machine.run(f"sed -n 's/^CapBnd:\\t//p' /proc/{agent}/status").strip()
    names = machine.run(f"capsh --decode={bound} | sed 's/.*=//; s/cap_//g'").strip().split(",")
    rights = ",".join(["-all", *(f"+{name}" for name in names)])
    inside = f"nsenter -t {agent} -m -n setpriv --bounding-set={rights} --inh-caps=-all --no-new-privs sh -c"
    assert machine.run(f"{inside} 'sed -n s/^CapEff:.//p /proc/self/status'").strip() == bound
    attempts = [f"cat {PASSWORD}", f"cat {GIVEN}", "ls -A /run/credentials | grep .", "ls -A /etc/credstore | grep ."]
    attempts += ["ls -A /var/lib/dfagent-delivery | grep .", f"cat /proc/{delivery}/environ | grep -a ."]
    attempts += [f"cat /proc/{delivery}/root{GIVEN}", f"cat /proc/1/root{PASSWORD}", f"cat /proc/{delivery}/root{PASSWORD}"]
    attempts += [f"nsenter -t {delivery} -m true", "nsenter -t 1 -m true", f"head -c 1 /proc/{delivery}/mem", "touch /etc/x"]
    for attempt in attempts:
        done = machine.try_run(f"{inside} '{attempt}'")
        assert done["code"] != 0 and marker not in done["out"], f"{attempt}: {done}"
    # What of it is the unit's doing: without the unit's view the file is there.
    assert machine.run(f"cat {PASSWORD}").strip() == marker
    opened = machine.run(f"ls -l /proc/{agent}/fd")
    assert "cred" not in opened, opened
    links = machine.run(f"nsenter -t {agent} -n ip -o link | awk '{{ print $2 }}'").split()
    assert links == ["lo:"], links


def nowhere_else(machine, agent, marker):
    """Nor does it stand in any place that somebody may look into."""
    put(machine, "/root/look.py", LOOK)
    put(machine, "/root/marker", marker, 0o600)
    seen = machine.run(f"python3 -B /root/look.py $(cat /root/marker) {agent}", 120)
    assert seen == "", f"the password is in {seen}"
    for command in ("journalctl --all -o cat", "dfagent status --json; dfagent status; dfagent check", "systemctl show dfagent dfagent-delivery"):
        count = machine.run(f"({command}) 2>&1 | grep -c -F -f /root/marker || true", 240).strip()
        assert count == "0", f"{command} says the password"
    places = "/var /tmp /etc /root /home /dev/shm /run /opt/standin"
    found = set(machine.run(f"grep -rlaF -D skip --exclude-dir=journal -f /root/marker {places} || true", 240).split())
    assert found <= {PASSWORD, "/root/marker", GIVEN}, found
    machine.run("useradd --no-create-home --groups dfagent examiner")
    for path in (PASSWORD, GIVEN):
        assert machine.try_run(f"runuser -u examiner -- cat {path}")["code"] != 0, path
    assert FIRST_ID in machine.run("runuser -u examiner -- dfagent status")


def dies_without_a_trace(machine, delivery, marker):
    """A crash leaves no copy of delivery's memory."""
    assert machine.run(f"awk '/^Max core/ {{ print $5, $6 }}' /proc/{delivery}/limits").strip() == "0 0"
    machine.run(f"kill -ABRT {delivery}")
    machine.wait(f"p=$(systemctl show dfagent-delivery -P MainPID); test $p != 0 -a $p != {delivery} && systemctl is-active dfagent-delivery", 240)
    left = machine.run("find / /var /run /tmp -xdev -newer /root/marker -type f \\( -name 'core*' -o -path '*/coredump/*' \\) ! -path '/proc/*'", 120)
    assert left == "", left
    assert machine.run("coredumpctl list 2>&1 | grep -c dfagent || true").strip() == "0"
    assert machine.run("journalctl --all -o cat | grep -c -F -f /root/marker || true", 120).strip() == "0"
