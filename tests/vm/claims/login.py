"""People who log in: with the rights that the image gives to its own user, and without any."""

import json
import re

import vm
from rig import FIRST, FIRST_ID, SECOND, SECOND_ID, Lab, claim, state

# The groups of the user that the image makes at its first start.
GROUPS = "import yaml; print(','.join(yaml.safe_load(open('/etc/cloud/cloud.cfg.d/99-forensic.cfg'))['system_info']['default_user']['groups']))"


class Person:
    """Somebody with a key, who comes over SSH."""

    def __init__(self, machine, name, groups):
        self.machine, self.name = machine, name
        options = f"--groups {groups}" if groups else ""
        machine.run(f"useradd --create-home --shell /bin/bash {options} {name}")
        machine.run(
            f"test -e /root/key || ssh-keygen -q -t ed25519 -N '' -f /root/key; install -d -m 700 -o {name} ~{name}/.ssh"
            f" && install -m 600 -o {name} /root/key.pub ~{name}/.ssh/authorized_keys"
        )
        self.words = f"ssh -i /root/key -o StrictHostKeyChecking=accept-new -o BatchMode=yes -o LogLevel=ERROR {name}@127.0.0.1"

    def runs(self, command):
        """What became of a command."""
        return self.machine.try_run(f'{self.words} "{command}"', 120)

    def sees(self):
        """What is on the screen after a login."""
        return self.machine.run(f"echo exit | {self.words} -tt 2>/dev/null", 120)


def explained(said, message, *words):
    """An entry of the journal is followed by a text that has these words."""
    assert message in said, f"{message!r} is not in the journal: {said}"
    text = re.split(r"\n[A-Z][a-z]{2} \d\d ", said[said.index(message) :])[0]
    for word in words:
        assert word in text, f"{word!r} is not said about {message!r}: {text}"


@claim
def a_person_of_the_group_sees_how_it_stands_and_what_to_do_and_others_learn_whom_to_ask():
    with vm.restore() as machine:
        lab = Lab(machine)
        groups = machine.run(f'python3 -c "{GROUPS}"').strip()
        assert "dfagent" in groups.split(","), groups
        member, stranger = Person(machine, "examiner", groups), Person(machine, "stranger", "")
        lab.install()
        lab.start()
        assert "dfagent: " in member.sees()
        disk = lab.plug(0, FIRST, "/dev/sdf")
        lab.wait_until_read(FIRST_ID)
        lab.pull(disk)
        lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "interrupted")
        disk = lab.plug(1, SECOND, "/dev/sdg")
        lab.wait_until_read(SECOND_ID)
        # The stand-in ends without a storage file.
        lab.finish()
        lab.wait_for(lambda jobs: state(jobs, SECOND_ID) == "done", 240)

        shown = member.runs("dfagent status")
        assert FIRST_ID in shown["out"] and SECOND_ID in shown["out"] and not shown["err"], shown
        listed = json.loads(member.runs("dfagent status --json")["out"])
        assert {job["job"]["id"] for job in listed["jobs"]} == {FIRST_ID, SECOND_ID}, listed
        seen = member.sees()
        assert "1 done" in seen and "dfagent: " in seen, seen
        said = member.runs("journalctl -q -x -t dfagent")["out"]
        explained(said, "ready", "Subject: The agent is ready", "Nothing is to be done")
        explained(said, f"{FIRST_ID}: interrupted", f"dfagent cancel {FIRST_ID}", "when its volume is attached")
        explained(said, f"{SECOND_ID}: done, failed", f"dfagent retry {SECOND_ID}", "report.txt in the job's folder")

        refused = stranger.runs("dfagent status")
        assert refused["code"] != 0 and refused["out"] == "", refused
        assert refused["err"].count("\n") == 1 and "you are not in the group dfagent; join it or use `sudo`" in refused["err"], refused
        refused = stranger.runs(f"dfagent cancel {FIRST_ID}")
        assert refused["code"] != 0 and "not in the group dfagent" in refused["err"], refused
        assert "dfagent[" not in stranger.runs("journalctl -q -t dfagent")["out"]
        assert stranger.runs("ls /var/lib/dfagent/jobs")["code"] != 0
        assert state(lab.jobs(), FIRST_ID) == "interrupted"
        lab.pull(disk)
