#!/usr/bin/env python3
"""Measures the image in the tests' machine: from attach to mounted and to the first Plaso process, against a bare udev
rule; resident memory of both services; what the units add to the start.

    figures.py          prints a line for each; the median of five attaches

All times are the guest's own, from the kernel's event for the disk. The machine has no KVM: only the ratios say something
about an instance.
"""

import re
import statistics

import rig
import vm

ROUNDS = 5
RULE = 'ACTION=="add", KERNEL=="nvme*n1", RUN+="/usr/local/sbin/stamp %k"'
STAMP = "#!/bin/sh\\nread -r up rest </proc/uptime; echo \"$1 $up\" >>/run/stamps\\n"


def attach(lab, number):
    """One attach: seconds from the kernel's event to the rule's program, to the mount, to Plaso."""
    machine, serial = lab.machine, f"vol0{number:016x}"
    volume = f"vol-{serial[3:]}"
    machine.run(": >/run/events; : >/run/stamps")
    disk = lab.plug(number % 2, serial, "/dev/sdf")
    lab.wait_for(lambda jobs: rig.is_read(jobs.get(volume)), 240)
    events = machine.run("cat /run/events")
    begun = float(re.search(r"KERNEL\[([0-9.]+)\] add +\S+/(nvme\d+n1) ", events)[1])
    # To a hundredth of a second, as /proc/uptime has it.
    rule = float(machine.run("awk '{ print $2; exit }' /run/stamps"))
    # The kernel says when a file system is mounted.
    mounted = float(re.findall(r"\[ *([0-9.]+)\] EXT4-fs \(loop\d+\): mounted", machine.run("dmesg"))[-1])
    ticks = machine.run("for p in $(pgrep -f '^/plaso/bin/python|standin.py'); do awk '{ print $22 }' /proc/$p/stat; done")
    plaso = min(int(tick) for tick in ticks.split()) / 100
    lab.pull(disk)
    lab.wait_for(lambda jobs: rig.state(jobs, volume) == "interrupted", 120)
    return rule - begun, mounted - begun, plaso - begun


def main():
    with vm.restore() as machine:
        lab = rig.Lab(machine)
        lab.install()
        machine.run(f"printf '{STAMP}' >/usr/local/sbin/stamp && chmod 755 /usr/local/sbin/stamp")
        machine.run(f"mkdir -p /run/udev/rules.d && echo '{RULE}' >/run/udev/rules.d/99-stamp.rules && udevadm control --reload", 60)
        lab.start()
        machine.run("systemd-run --quiet --unit=events -p StandardOutput=append:/run/events udevadm monitor --kernel --subsystem-match=block")
        machine.wait("grep -q KERNEL /run/events")
        rounds = [attach(lab, number) for number in range(1, ROUNDS + 1)]
        for name, times in zip(("bare udev rule", "mounted", "first Plaso process"), zip(*rounds)):
            print(f"{name}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")
        for unit in ("dfagent", "dfagent-delivery"):
            machine.run(f"systemctl restart {unit}", 240)
            print(machine.run(f"grep -E '^VmRSS' /proc/$(systemctl show {unit} -P MainPID)/status").strip(), unit)
        print(machine.run("systemd-analyze; systemd-analyze blame | grep dfagent || true"))


main()
