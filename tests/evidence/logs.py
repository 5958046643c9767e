#!/usr/bin/env python3
"""Fill a folder with the logs of a made-up Linux host, in the real formats.

usage: logs.py ROOT N [--seed S] [--host database]

N is the number of events that Plaso should find, about. The same seed gives
the same content. Needs systemd-journal-remote for the journal.
"""

import argparse
import os

import auditlogs
import cloudlogs
import containerlogs
import databaselogs
import hostfiles
import journal
import loginrecords
import packagelogs
import syslogs
import weblogs
from clock import END
from tree import Tree
from world import World

WEB_HOST, DATABASE_HOST = "web-01", "db-01"

# How many of a hundred events each kind of log gives.
WEB_SHARES = (
    (syslogs.fill_syslog, 17),
    (syslogs.fill_auth, 20),
    (syslogs.fill_kern, 3),
    (syslogs.fill_cron, 4),
    (auditlogs.fill, 14),
    (containerlogs.fill_docker, 5),
    (containerlogs.fill_pods, 4),
    (packagelogs.fill, 2),
    (loginrecords.fill_wtmp, 1),
    (loginrecords.fill_btmp, 2),
    (hostfiles.fill_homes, 2),
    (cloudlogs.fill_cloud_init, 0.3),
    (cloudlogs.fill_agent, 1),
    (cloudlogs.fill_sensor, 0.5),
)
# Plaso makes two events of a journal entry: when it was written and when it happened.
WEB_ACCESS, WEB_JOURNAL = 13, 6.5


class Host:
    """A host under construction: its tree, its world and its journal."""

    def __init__(self, root, seed, name):
        self.tree = Tree(root)
        self.world = World(seed, name)
        self.journal = []
        self.last_logins = {
            1000: (END - 7000, "pts/0", "10.0.1.9"),
            1001: (END - 90_000, "pts/1", "10.0.1.12"),
        }

    def log(self, seconds, tag, text):
        """Add an entry to the journal."""
        self.journal.append((seconds, journal.entry(self.world, seconds, tag, text)))

    def finish(self):
        """Write everything to disk."""
        loginrecords.write_lastlog(self.tree, self.last_logins)
        if self.journal:
            self.write_journal()
        self.tree.finish()

    def write_journal(self):
        """Write the journal, dated by its last entry."""
        self.journal.sort(key=lambda item: item[0])
        target = self.tree.place(f"/var/log/journal/{self.world.machine}/system.journal")
        journal.write(target, [text for _, text in self.journal])
        self.tree.settle(target, self.journal[-1][0], 0o640, 0)


def web_host(root, count, seed):
    """A web server with count events; not yet finished, so that lines can be added."""
    host = Host(root, seed, WEB_HOST)
    hostfiles.write_identity(host.tree, host.world)
    for fill, share in WEB_SHARES:
        fill(host.tree, host.world, int(count * share / 100))
    weblogs.fill(host.tree, host.world, weblogs.APACHE, int(count * WEB_ACCESS / 100))
    fill_journal(host, int(count * WEB_JOURNAL / 100))
    return host


def database_host(root, count, seed):
    """A database server behind nginx with count events; not yet finished."""
    host = Host(root, seed, DATABASE_HOST)
    hostfiles.write_identity(host.tree, host.world)
    weblogs.fill(host.tree, host.world, weblogs.NGINX, int(count * 0.4))
    databaselogs.fill(host.tree, host.world, int(count * 0.35))
    syslogs.fill_auth(host.tree, host.world, int(count * 0.15))
    return host


def fill_journal(host, count):
    """Entries of services and of log-ins."""
    for seconds in host.world.times(count):
        source = syslogs.service if host.world.chance(0.6) else syslogs.login
        host.log(seconds, *source(host.world))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root")
    parser.add_argument("count", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--host", choices=("web", "database"), default="web")
    options = parser.parse_args()
    os.makedirs(options.root, exist_ok=True)
    make = web_host if options.host == "web" else database_host
    make(options.root, options.count, options.seed).finish()


if __name__ == "__main__":
    main()
