"""Delivery from the guest to a stand-in for Timesketch on this machine's loopback."""

import contextlib
import hashlib
import json
import secrets
import tempfile

import sketches
import vm
from rig import FIRST, FIRST_ID, Lab, claim, make_logs, state

ADDRESS = "169.254.169.20"
CONFIGURATION = f"""
[attach.evidence]
points = ["/dev/sd[f-p]"]
case = "4711"
filter = "/etc/dfagent/one.yaml"
[delivery]
to = "upload"
[timesketch]
url = "https://{ADDRESS}"
user = "dfagent"
ca_file = "/etc/dfagent/ca.pem"
"""
FILTER = "type: include\npath_separator: '/'\npaths:\n- /var/log/auth[.]log\n"


def make_log(path):
    """A disk with one log of one line: one slice, which is a minute less in the guest than two."""
    make_logs(path, {"auth.log": ["2025-11-20T10:00:05.000000+00:00 web-01 sshd[4711]: Accepted password for planted-heron\n"]})


@contextlib.contextmanager
def standing(password):
    """A server that has a port and does not listen yet, with the file of its authority."""
    with tempfile.TemporaryDirectory() as folder:
        sketches.make_certificates(folder, ADDRESS)
        with open(f"{folder}/ca.pem", encoding="ascii") as file:
            authority = file.read()
        server = sketches.Server(password, folder)
        try:
            yield server, authority
        finally:
            server.server_close()


def configure(machine, authority, password):
    """As docs/image.md has it: a file for the site, and the password in the store of credentials."""
    files = (("conf.d/20-site.toml", CONFIGURATION), ("one.yaml", FILTER), ("ca.pem", authority))
    for name, text in files:
        machine.run(f"mkdir -p /etc/dfagent/conf.d; cat >/etc/dfagent/{name} <<'.'\n{text}\n.")
    machine.run("install -d -m 700 /etc/credstore")
    machine.run(f"umask 077; echo {password} >/etc/credstore/dfagent.timesketch-password")
    machine.run("systemctl restart dfagent dfagent-delivery", 240)


def kill(machine):
    """Ends delivery in the middle of what it does."""
    machine.run("systemctl kill --kill-whom=main -s KILL dfagent-delivery")


@claim
def a_storage_file_arrives_once_however_often_delivery_is_killed():
    password = secrets.token_hex(12)
    with standing(password) as (server, authority), vm.restore(forward={f"{ADDRESS}:443": server.port}) as machine:
        lab = Lab(machine)
        configure(machine, authority, password)
        disk = lab.plug(0, FIRST, "/dev/sdf", make=make_log)
        # The server is away until all is extracted.
        lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "delivering", 400)
        shown = machine.run("dfagent status")
        assert ADDRESS in shown, shown
        folder = f"/var/lib/dfagent/jobs/{FIRST_ID}"
        expected = machine.run(f"cat {folder}/slices/*/storage.plaso | sha256sum").split()[0]

        server.hold = "within"
        server.listen()
        assert server.held.wait(240), server.seen
        kill(machine)
        server.drop(then="answer")
        assert server.held.wait(240), server.seen
        kill(machine)
        server.drop()
        jobs = lab.wait_for(lambda jobs: state(jobs, FIRST_ID) not in ("delivering", "running"), 300)
        assert jobs[FIRST_ID]["job"]["state"] == {"name": "done", "verdict": "complete"}, jobs

        assert len(server.timelines) == 1, server.timelines
        arrived = server.files[server.timelines[0]["file"]]
        assert hashlib.sha256(arrived).hexdigest() == expected, f"{len(arrived)} bytes arrived"
        about = json.loads(server.timelines[0]["context"])
        assert about["storage_sha256"] == expected and about["case"] == "4711" and about["volume"] == FIRST_ID, about
        assert server.sketches[0]["name"] == "4711", server.sketches
        delivered(machine, folder, about["documents"])
        lab.pull(disk)


def delivered(machine, folder, documents):
    """All of it is written down, and nothing is left to be done."""
    kept = json.loads(machine.run(f"cat {folder}/delivery.json"))
    assert kept["level"] == "complete" and kept["documents"] == documents, kept
    shown = machine.run("dfagent status")
    assert f"{documents} events proven to be on the server" in shown and f"https://{ADDRESS}/sketch/1" in shown, shown
    assert machine.run("find /var/lib/dfagent/outbox -name storage.plaso") == ""
    restarts = machine.run("systemctl show dfagent-delivery -P NRestarts -P ActiveState").split()
    assert sorted(restarts) == ["2", "active"], restarts
