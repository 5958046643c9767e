"""The image when it has started, and what it does not do about disks."""

import re

import ebs
import vm
from rig import FIRST, FIRST_ID, STORE, Lab, claim, node_of
from signatures import SIGNATURES, make_twin

DIGITS = {"lvm": "1", "md": "2", "swap": "3", "typed": "4"}


def plug_signatures(lab, slot):
    """Plugs in a volume with each signature; the next slot is free."""
    for number, (name, make) in enumerate(SIGNATURES.items()):
        lab.plug(slot + number, f"vol0{DIGITS[name] * 16}", f"/dev/sd{'ghij'[number]}", make=make)


def asleep(machine):
    """No disk but the root is used: nothing assembled, activated, swapped to or mounted by anybody."""
    assert machine.run("cd /sys/block; ls -d dm-* md* 2>/dev/null || true") == ""
    assert machine.run("swapon --show --noheadings") == ""
    mounted = set(machine.run("findmnt -rno MAJ:MIN,FSTYPE | awk '$1 !~ /^0:/ { print $1 }'").split())
    root = machine.run("lsblk -dnro MAJ:MIN $(realpath /dev/dfagent/root)").strip()
    assert mounted == {root}, f"mounted are {mounted}, the root is {root}"
    # Nor in any other process's view of files.
    seen = set(machine.run("cat /proc/[0-9]*/mountinfo 2>/dev/null | awk '$3 !~ /^0:/ { print $3 }' | sort -u").split())
    assert seen == {root}, f"mounted somewhere are {seen}, the root is {root}"


def guarded(machine, serial):
    """The disk with this serial number is evidence, read-only, and so are its partitions."""
    node = machine.run(f"lsblk -dnpro NAME,SERIAL | awk '$2 == \"{serial}\" {{ print $1 }}'").strip()
    known = machine.run(f"udevadm info --query=property {node}")
    assert "DFAGENT_ROLE=evidence" in known.split("\n"), known
    assert set(machine.run(f"lsblk -nro RO {node}").split()) == {"1"}, machine.run(f"lsblk -o NAME,RO {node}")


def settings(machine):
    """The kernel has the settings that the image promises."""
    wrong = machine.run(
        "sed -n 's/^\\([a-z][^ ]*\\) = \\(.*\\)/\\1 \\2/p' /etc/sysctl.d/99-zz-forensic.conf | while read -r key value; do"
        ' now=$(sysctl -n "$key"); [ "$now" = "$value" ] || echo "$key is $now, not $value"; done'
    )
    assert wrong == "", wrong
    for module in ("hfsplus", "udf", "usb-storage"):
        assert machine.try_run(f"modprobe {module}")["code"] != 0, f"{module} was loaded"
    assert "[integrity]" in machine.run("cat /sys/kernel/security/lockdown")
    assert machine.run("findmnt -rno SOURCE --fstab") == "/dev/dfagent/root\n"


def first_start(machine):
    """Each machine has an identity of its own, and lets in with keys alone."""
    assert re.fullmatch("[0-9a-f]{32}\n", machine.run("cat /etc/machine-id"))
    assert machine.run("ls -d /var/log/journal/$(cat /etc/machine-id)")
    machine.run("systemctl is-active ssh && ls /etc/ssh/ssh_host_ed25519_key")
    said = machine.run("sshd -T")
    for word in ("passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin no"):
        assert word in said.split("\n"), f"{word}: {said}"


@claim
def grub_starts_the_image_from_its_own_disk_and_its_twin_is_evidence():
    with vm.Machine(root="nvme", paused=True, grub=True) as machine:
        lab = Lab(machine)
        # As at launch: without /dev/.
        ebs.rewrite(machine.process.pid, vm.ROOT_SERIAL, "xvda")
        # In the first slots, before the root.
        lab.plug(0, FIRST, "sdf", make=make_twin)
        store = lab.plug(1, STORE, None, ebs.INSTANCE_STORE)
        plug_signatures(lab, 2)
        machine.qmp("cont")
        machine.connect(900)
        machine.wait("systemctl is-system-running | grep -qE 'running|degraded'", 900)
        machine.run("udevadm settle", 120)

        assert "root=/dev/dfagent/root" in machine.run("cat /proc/cmdline")
        root = machine.run("lsblk -ndo PKNAME $(realpath /dev/dfagent/root)").strip()
        assert root == node_of(lab, vm.ROOT_SERIAL).removeprefix("/dev/"), f"the root is {root}"
        asleep(machine)
        for serial in (FIRST, *(f"vol0{digit * 16}" for digit in DIGITS.values())):
            guarded(machine, serial)
        uuid, part = machine.run("lsblk -dnro UUID,PARTUUID $(realpath /dev/dfagent/root)").split()
        for link in (f"by-uuid/{uuid}", f"by-partuuid/{part}", "by-label/root"):
            assert machine.run(f"realpath /dev/disk/{link}").startswith(f"/dev/{root}p"), f"{link} is not the root's"
        assert machine.run("systemctl --failed --no-legend --plain") == ""
        settings(machine)
        first_start(machine)
        print(machine.run("systemd-analyze; systemd-analyze blame | grep -E 'dfagent|cloud|udev' || true"))
        # Nothing is taken before somebody has said what.
        assert lab.jobs() == {}
        lab.all_unchanged()

        lab.install()
        lab.start()
        lab.wait_until_read(FIRST_ID)
        machine.run("systemctl stop dfagent", 120)
        lab.wait_until_nothing_is_left()
        machine.run("umount /payload")
        asleep(machine)
        assert machine.counters(store)["wr_operations"] == 0
        lab.all_unchanged()


@claim
def signatures_on_volumes_that_are_plugged_in_stay_asleep():
    with vm.restore() as machine:
        lab = Lab(machine)
        plug_signatures(lab, 0)
        for digit in DIGITS.values():
            node_of(lab, f"vol0{digit * 16}")
        machine.run("udevadm settle", 120)
        asleep(machine)
        for digit in DIGITS.values():
            guarded(machine, f"vol0{digit * 16}")
        # A person who asks for everything gets nothing, either.
        machine.try_run("vgchange -aay; mdadm --assemble --scan; swapon -a")
        asleep(machine)
        lab.all_unchanged()
