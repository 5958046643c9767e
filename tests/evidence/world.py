"""The made-up company whose hosts leave the logs: names, addresses, chance.

Everything comes from one seeded generator, so the same seed gives the same
world. Addresses outside are documentation ranges, inside 10.0.0.0/8.
"""

import random

from clock import END, START

ATTACKER = "203.0.113.66"
OUTSIDE = ("192.0.2", "198.51.100", "203.0.113")

# name: (uid, home, shell); all of them may have a history.
PEOPLE = {
    "root": (0, "/root", "/bin/bash"),
    "deploy": (1000, "/home/deploy", "/bin/bash"),
    "ops": (1001, "/home/ops", "/usr/bin/zsh"),
    "backup": (1002, "/home/backup", "/bin/bash"),
    "build": (1003, "/home/build", "/usr/bin/fish"),
}
SERVICES = {
    "daemon": (1, "/usr/sbin"),
    "www-data": (33, "/var/www"),
    "nobody": (65534, "/nonexistent"),
    "systemd-network": (998, "/"),
    "messagebus": (100, "/nonexistent"),
    "sshd": (101, "/run/sshd"),
    "postgres": (106, "/var/lib/postgresql"),
}
GUESSED = (
    "admin administrator ansible backup centos chia demo deploy docker elastic es ftp ftpuser "
    "git gitlab guest hadoop jenkins kafka lighthouse minecraft mysql nagios nginx odoo operator "
    "oracle pi postgres redis root runner sa server solana steam support svn sysadmin test "
    "tomcat ubnt ubuntu user vagrant web www zabbix"
).split()

SUBJECTS = (
    "account address alert archive asset basket batch branch bucket cache carrier catalog charge "
    "claim contract coupon customer delivery discount export feature feed figure folder grant "
    "import index invoice item job label ledger mail metric notice offer order parcel payment "
    "picture price product profile quota receipt refund region report request return route "
    "schedule search session shipment stock store supplier survey tax ticket token transfer "
    "update usage vendor voucher warehouse webhook wish"
).split()
ACTIONS = (
    "accepted added answered archived assigned built cached checked closed collected compared "
    "computed copied created delayed deleted delivered dropped expired fetched found indexed "
    "joined kept loaded locked matched merged moved opened packed planned posted printed queued "
    "read rebuilt received refreshed rejected released renamed resent restored retried saved "
    "scanned sent served skipped sorted started stopped stored synced tagged updated validated "
    "verified written"
).split()


class World:
    """One host, its seed and everything drawn from it."""

    def __init__(self, seed, host):
        self.host = host
        self.random = random.Random(f"{seed}/{host}")
        self.pick = self.random.choice
        self.visitors = [self.outside() for _ in range(300)]
        self.boot = self.hex(128)
        self.machine = self.hex(128)

    def times(self, count, start=START, end=END):
        """Ordered times spread over the period."""
        return sorted(self.random.uniform(start, end) for _ in range(count))

    def number(self, low, high):
        return self.random.randrange(low, high)

    def chance(self, share):
        return self.random.random() < share

    def hex(self, bits):
        return f"{self.random.getrandbits(bits):0{bits // 4}x}"

    def base64(self, length):
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        return "".join(self.random.choices(letters, k=length))

    def uuid(self):
        text = self.hex(128)
        return "-".join((text[:8], text[8:12], "4" + text[13:16], "a" + text[17:20], text[20:]))

    def pid(self):
        """A process id; a few have more than five digits, as on long-running hosts."""
        return self.number(100_000, 4_000_000) if self.chance(0.02) else self.number(300, 99_999)

    def outside(self):
        while True:
            address = f"{self.pick(OUTSIDE)}.{self.number(1, 255)}"
            if address != ATTACKER:
                return address

    def inside(self):
        return f"10.0.{self.number(1, 9)}.{self.number(2, 250)}"

    def visitor(self):
        """A returning address from outside; few of them visit often."""
        return self.visitors[int(len(self.visitors) * self.random.random() ** 2)]

    def port(self):
        return self.number(1024, 65_535)

    def sentence(self):
        """What an application says about its work."""
        return (
            f"{self.pick(SUBJECTS)} {self.hex(32)} {self.pick(ACTIONS)}, "
            f"{self.pick(SUBJECTS)}={self.number(1, 10_000)} {self.pick(SUBJECTS)}_id={self.hex(48)} "
            f"in {self.random.expovariate(1) * 40:.1f} ms"
        )
