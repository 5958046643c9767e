"""Volumes that are plugged in and pulled."""

import json
import re
import time

import ebs
import vm
from rig import FIRST, FIRST_ID, SECOND, SECOND_ID, STORE, Lab, claim, node_of, reason, state

# src/telemetry/events.rs
READY = "7c575bf04bd4498f8efecae9dc25e3eb"
STOPPING = "4842315b92b245aba249112109195335"
INTERRUPTED = "ad02c416a3324bc2882128c1e7618ce8"


@claim
def plugged_volumes_are_taken_and_nothing_else_is_touched():
    with vm.restore() as machine:
        lab = Lab(machine)
        lab.install()
        store = lab.plug(0, STORE, None, ebs.INSTANCE_STORE)
        store_node = node_of(lab, STORE)
        machine.run("udevadm settle")
        store_reads = machine.counters(store)["rd_operations"]
        lab.start()
        first = lab.plug(1, FIRST, "/dev/sdf")
        second = lab.plug(2, SECOND, "sdg")
        jobs = lab.wait_until_read(FIRST_ID, SECOND_ID)
        assert set(jobs) == {FIRST_ID, SECOND_ID}, jobs.keys()
        for volume, point in ((FIRST_ID, "/dev/sdf"), (SECOND_ID, "/dev/sdg")):
            assert jobs[volume]["job"]["volume"]["point"] == point, jobs[volume]
        status = lab.status()
        assert "instance store" in reason(status, store_node), status["ignored"]
        assert reason(status, "/dev/vda"), status["ignored"]
        assert "mounted at /payload" in reason(status, "/dev/vdb"), status["ignored"]
        assert machine.counters(store)["rd_operations"] == store_reads, "the agent read the instance store"
        for disk in (first, second):
            assert machine.counters(disk)["rd_bytes"] > 0
        machine.run("systemctl stop dfagent", 120)
        lab.wait_until_nothing_is_left()
        for disk in (store, first, second):
            lab.pull(disk)


@claim
def a_volume_pulled_while_it_is_read_is_interrupted_and_goes_on_when_it_is_back():
    with vm.restore() as machine:
        lab = Lab(machine)
        lab.install()
        lab.start()
        disk = lab.plug(0, FIRST, "/dev/sdf")
        lab.wait_until_read(FIRST_ID)
        left = lab.left()
        assert all(left.values()), f"a job at work has cages, mounts and loops: {left}"
        events = "/run/events"
        machine.run(f"systemd-run --quiet --unit=events -p StandardOutput=file:{events} udevadm monitor --kernel --subsystem-match=block")
        machine.wait(f"grep -q KERNEL {events}")
        lab.pull(disk)
        jobs = lab.wait_for(lambda jobs: state(jobs, FIRST_ID) != "running")
        assert state(jobs, FIRST_ID) == "interrupted", jobs
        assert not jobs[FIRST_ID]["attached"]
        lab.wait_until_nothing_is_left()
        removed = float(re.search(r"KERNEL\[([0-9.]+)\] remove +\S+/nvme0n1 ", machine.run(f"cat {events}"))[1])
        said = lab.journal(f"MESSAGE_ID={INTERRUPTED}", f"DFAGENT_JOB={FIRST_ID}")
        assert len(said) == 1, said
        took = int(said[0]["__MONOTONIC_TIMESTAMP"]) / 1e6 - removed
        print(f"interrupted {took:.2f} s after the remove event")
        assert took < 5, f"interrupted only {took} s after the remove event"

        again = lab.plug(1, FIRST, "/dev/sdf")
        jobs = lab.wait_until_read(FIRST_ID)
        assert state(jobs, FIRST_ID) == "running" and jobs[FIRST_ID]["job"]["starts"] == 2, jobs
        lab.pull(again)
        lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "interrupted")
        read = machine.run(f"find /var/lib/dfagent/jobs/{FIRST_ID} -name slice.json -o -name manifest.json")
        assert read == "", f"something counts as read: {read}"


@claim
def a_volume_pulled_at_any_moment_before_that_is_interrupted_too():
    with vm.restore() as machine:
        lab = Lab(machine)
        lab.install()
        lab.start()
        seen = set()
        for step in range(8):
            disk = lab.plug(step % 2, FIRST, "/dev/sdf")
            lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "running")
            end = time.monotonic() + step * 0.4
            while time.monotonic() < end:
                time.sleep(0.05)
            seen.add(stage(lab))
            lab.pull(disk)
            jobs = lab.wait_for(lambda jobs: state(jobs, FIRST_ID) != "running" and not jobs[FIRST_ID]["attached"])
            assert state(jobs, FIRST_ID) == "interrupted", jobs
            lab.wait_until_nothing_is_left()
        print(f"pulled during: {sorted(seen)}")
        lab.plug(2, FIRST, "/dev/sdf")
        lab.wait_until_read(FIRST_ID)


def stage(lab):
    """What is done for the job at this moment."""
    progress = lab.jobs()[FIRST_ID]["progress"]
    return progress["stage"] if progress else ""


@claim
def a_volume_that_was_there_first_is_taken_and_the_service_manager_is_told():
    with vm.Machine(root="nvme", paused=True) as machine:
        lab = Lab(machine)
        ebs.rewrite(machine.process.pid, vm.ROOT_SERIAL, "/dev/xvda")
        machine.qmp("cont")
        machine.connect()
        disk = lab.plug(0, FIRST, "sdf")
        lab.install()
        machine.run("udevadm settle")
        lab.start()
        lab.wait_until_read(FIRST_ID)
        status = lab.status()
        root = node_of(lab, vm.ROOT_SERIAL)
        assert "mounted at /" in reason(status, root), status["ignored"]
        shown = machine.run("systemctl status dfagent")
        assert re.search(r'Status: "running: 1 at work, 0 waiting, 0 done', shown), shown
        ready = lab.journal(f"MESSAGE_ID={READY}")
        assert len(ready) == 1 and ready[0]["_SYSTEMD_UNIT"] == "dfagent.service", ready

        machine.run("touch /opt/standin/finish")
        lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "done")
        lab.wait_until_nothing_is_left()
        lab.unchanged(disk)
        fed = "systemctl show dfagent -P WatchdogTimestampMonotonic"
        before = machine.run(fed).strip()
        machine.wait(f"test $({fed}) -gt {before}", 120)
        machine.run("systemctl stop dfagent", 120)
        ended = machine.run("systemctl show dfagent -P Result -P NRestarts -P ExecMainStatus").split()
        assert ended == ["success", "0", "0"], ended
        assert len(lab.journal(f"MESSAGE_ID={STOPPING}")) == 1
        lab.pull(disk)


@claim
def four_volumes_at_once_are_all_done_and_the_next_one_at_the_same_point_is_a_job_of_its_own():
    with vm.restore() as machine:
        lab = Lab(machine)
        lab.install()
        lab.use_slices()
        lab.start()
        serials = [f"vol0{digit * 16}" for digit in "1234"]
        ids = [f"vol-{serial[3:]}" for serial in serials]
        disks = [lab.plug(slot, serial, f"/dev/sd{'fghi'[slot]}") for slot, serial in enumerate(serials)]
        # As many slices as there are cores, and the others say that they wait.
        jobs = lab.wait_for(lambda jobs: set(jobs) == set(ids) and reading(jobs) == 2 and waiting(jobs) >= 1, 240)
        assert {state(jobs, volume) for volume in ids} == {"running"}, jobs
        assert all(jobs[volume]["attached"] for volume in ids), jobs
        lab.finish()
        lab.wait_for(lambda jobs: all(state(jobs, volume) == "done" for volume in ids), 240)
        for volume, point in zip(ids, "fghi"):
            manifest = json.loads(machine.run(f"cat /var/lib/dfagent/jobs/{volume}/manifest.json"))
            assert manifest["job"] == volume and manifest["verdict"]["level"] == "complete", manifest
            assert machine.run(f"wc -l </var/lib/dfagent/jobs/{volume}/timeline.jsonl") == "6\n"
            assert lab.jobs()[volume]["job"]["volume"]["point"] == f"/dev/sd{point}"
        lab.wait_until_nothing_is_left()

        lab.pull(disks[0])
        lab.wait_for(lambda jobs: not jobs[ids[0]]["attached"])
        lab.plug(0, FIRST, "/dev/sdf")
        jobs = lab.wait_for(lambda jobs: state(jobs, FIRST_ID) == "done", 240)
        assert set(jobs) == {*ids, FIRST_ID} and state(jobs, ids[0]) == "done", jobs
        assert jobs[FIRST_ID]["job"]["volume"]["point"] == jobs[ids[0]]["job"]["volume"]["point"] == "/dev/sdf"
        assert jobs[ids[0]]["job"]["starts"] == 1, jobs[ids[0]]
        lab.all_unchanged()


def reading(jobs):
    """Slices that are read, over all jobs."""
    return sum(len((job["progress"] or {}).get("at_work", [])) for job in jobs.values())


def waiting(jobs):
    """Jobs that say that they wait for their turn."""
    return sum((job["progress"] or {}).get("stage") == "waiting for its turn" for job in jobs.values())
