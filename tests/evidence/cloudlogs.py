"""Logs of what a cloud puts on a host, cloud-init and the SSM agent, and of an intrusion sensor."""

import clock
from clock import START


def fill_cloud_init(tree, world, count):
    """The log of the first boot."""
    for seconds in world.times(count, START, START + 90):
        form = world.pick(
            (
                "Running module {} (<module 'cloudinit.config.cc_{}'>) with frequency once-per-instance",
                "Writing to /var/lib/cloud/instances/{}/sem/config_{} - wb: [644] 25 bytes",
            )
        )
        name = world.pick(("ssh", "users_groups", "growpart", "mounts", "ntp", "runcmd", "set_hostname"))
        tree.add(
            "/var/log/cloud-init.log",
            seconds,
            f"{clock.plain(seconds)},{world.number(0, 999):03d} - modules.py[DEBUG]: {form.format(name, name)}\n",
        )
        tree.add(
            "/var/log/cloud-init-output.log",
            seconds,
            f"Cloud-init v. 22.4.2 running 'modules:config' at {clock.date(seconds):%a, %d %b %Y %H:%M:%S} +0000. "
            f"Up {seconds - START:.2f} seconds.\n",
        )


def fill_agent(tree, world, count):
    """The log of the SSM agent."""
    for seconds in world.times(count):
        tree.add(
            "/var/log/amazon/ssm/amazon-ssm-agent.log",
            seconds,
            f"{clock.plain(seconds)}.{world.number(0, 9999):04d} INFO [ssm-agent-worker] [MessageService] [MGSInteractor] "
            f"reply {world.uuid()} of type {world.pick(('AcknowledgeMessage', 'AgentJobReply', 'TaskResult'))} sent\n",
        )


def fill_sensor(tree, world, count):
    """Alerts of Snort in its fast format, which lacks the year."""
    rules = (
        (2001219, "SCAN Potential SSH Scan", 22),
        (2009582, "SCAN NMAP -sS window 1024", 443),
        (2024897, "USER_AGENTS Go HTTP Client", 80),
    )
    for seconds in world.times(count):
        rule, name, port = world.pick(rules)
        tree.add(
            "/var/log/snort/alert",
            seconds,
            f"{clock.date(seconds):%m/%d-%H:%M:%S.%f}  [**] [1:{rule}:20] {name} [**] "
            f"[Classification: Attempted Information Leak] "
            f"[Priority: 2] {{TCP}} {world.visitor()}:{world.port()} -> 10.0.3.17:{port}\n",
        )
