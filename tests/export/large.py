#!/usr/bin/env python3
"""Writes a large storage file, quickly, for measurements: files' times, syslog and journal of a made-up host.

usage: large.py STORE N [--seed S]

Laid out as Plaso 20260720 leaves the storage file of a disk: a stream for each file, event data in the order of the
files, and after each the events that its times give. Of ten events four are times of files, four lines of syslog, two
entries of journals. Needs no Plaso: about 25,000 events a second.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import sqlite3
import zlib

SCHEMA = """
PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE metadata (key TEXT, value TEXT);
CREATE TABLE event_data (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, _data BLOB);
CREATE TABLE event_data_stream (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, file_entropy TEXT, md5_hash TEXT,
    path_spec TEXT, sha1_hash TEXT, sha256_hash TEXT, yara_match TEXT);
CREATE TABLE event (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, _event_data_identifier TEXT, date_time TEXT,
    timestamp INTEGER, timestamp_desc TEXT);
INSERT INTO metadata VALUES ('format_version', '20260516'), ('compression_format', 'zlib'),
    ('serialization_format', 'json');
"""
START = 1_780_000_000_000_000
SPAN = 15_000_000_000_000
BATCH = 20_000
LINES = 20_000  # of one log
STAT = ("Last Access Time", "Metadata Modification Time", "Creation Time", "Content Modification Time")
WORDS = ("session opened for user", "connection closed by", "failed password for", "started", "level=info msg=done",
         "worker timeout after", "GET /index.html", "request failed, retry", "renewed lease of")
FOLDERS = ("/usr/share/doc", "/var/lib/app", "/home/ops/work", "/etc/app", "/srv/www/static", "/opt/tool/lib")


class Host:
    """Rows of the three tables, one file after the other."""

    def __init__(self, database, seed):
        self.database = database
        self.random = random.Random(seed)
        self.rows = {"event": [], "event_data": [], "event_data_stream": []}
        self.data, self.streams, self.events = 0, 0, 0

    def add(self, table, row):
        """One more row."""
        rows = self.rows[table]
        rows.append(row)
        if len(rows) >= BATCH:
            self.flush(table)

    def flush(self, table):
        """Writes what was added."""
        rows = self.rows[table]
        if rows:
            columns = {"event": "(_event_data_identifier, date_time, timestamp, timestamp_desc)",
                       "event_data": "(_data)", "event_data_stream": "(md5_hash, path_spec)"}[table]
            places = ", ".join("?" * len(rows[0]))
            self.database.executemany(f"INSERT INTO {table} {columns} VALUES ({places})", rows)
            rows.clear()

    def stream(self, path, inode):
        """The stream of a file."""
        self.streams += 1
        layers = ('{"__type__": "PathSpec", "inode": %d, "location": "%s", "parent": {"__type__": "PathSpec", '
                  '"parent": {"__type__": "PathSpec", "location": "/evidence/disk.raw", "type_indicator": "OS"}, '
                  '"type_indicator": "RAW"}, "type_indicator": "EXT"}')
        self.add("event_data_stream", (hashlib.md5(path.encode()).hexdigest(), layers % (inode, path)))

    def event_data(self, chain, data_type, attributes, moments):
        """Event data of the latest stream, and its events."""
        self.data += 1
        text = (f'{{"__type__": "AttributeContainer", "__container_type__": "event_data", '
                f'"_event_data_stream_identifier": "event_data_stream.{self.streams}", "_event_values_hash": '
                f'"{self.random.getrandbits(128):032x}", "_parser_chain": "{chain}", "data_type": "{data_type}", '
                f'{json.dumps(attributes)[1:]}')
        self.add("event_data", (zlib.compress(text.encode("ascii")),))
        for moment, description in moments:
            date = ('{"__class_name__": "PosixTimeInMicroseconds", "__type__": "DateTimeValues", "timestamp": '
                    f"{moment}}}")
            self.add("event", (f"event_data.{self.data}", date, moment, description))
        self.events += len(moments)

    def file(self, number):
        """A file with the four times that ext4 has; often some are equal, as of an unpacked package."""
        inode = number + 100
        path = f"{FOLDERS[number % len(FOLDERS)]}/part{number // 900 % 97}/file-{number:07d}.dat"
        self.stream(path, inode)
        born = START + self.random.randrange(SPAN // 1000) * 1000
        times = [born, born, born, born if number % 3 else born - self.random.randrange(SPAN)]
        if number % 4 == 0:
            times[0] = born + self.random.randrange(SPAN)
        self.event_data("filestat", "fs:stat", {
            "access_time": date_time(times[0]), "change_time": date_time(times[1]), "creation_time": date_time(born),
            "display_name": f"EXT:{path}", "file_entry_type": "file", "file_size": self.random.randrange(1 << 20),
            "file_system_type": "EXT", "filename": path, "group_identifier": 0, "inode": inode, "is_allocated": True,
            "mode": 420, "modification_time": date_time(times[3]), "number_of_links": 1, "owner_identifier": 0,
        }, list(zip(times, STAT)))

    def syslog(self, number, lines):
        """A log in the order of time, to the second."""
        self.stream(f"/var/log/syslog.{number}", number + 20)
        moment = START + self.random.randrange(SPAN)
        for _ in range(lines):
            moment += self.random.randrange(3) * 1_000_000
            body = f"{self.random.choice(WORDS)} {self.random.getrandbits(40):x} port {self.random.randrange(65536)}"
            self.event_data("text/syslog_traditional", "syslog:line", {
                "hostname": "web-01", "last_written_time": date_time(moment), "message_body": body,
                "pid": self.random.randrange(99999), "reporter": self.random.choice(("sshd", "app", "cron", "kernel")),
            }, [(moment // 1_000_000 * 1_000_000, "Content Modification Time")])

    def journal(self, number, entries):
        """A journal, to the microsecond."""
        self.stream(f"/var/log/journal/system@{number}.journal", number + 50)
        moment = START + self.random.randrange(SPAN)
        for _ in range(entries):
            moment += self.random.randrange(900_000)
            self.event_data("systemd_journal", "systemd:journal", {
                "boot_identifier": "2a551b330133fd12dbb6656c03ab546d", "command_line": "/usr/sbin/app -D",
                "executable": "/usr/sbin/app", "facility": "system daemons", "group_identifier": 0,
                "hostname": "web-01", "machine_identifier": "e6ceeb3f0ba5f0fef73300aecafc7f7d",
                "message_body": f"WARNING {self.random.choice(WORDS)} {self.random.getrandbits(48):x} in 14.3 ms",
                "pid": self.random.randrange(99999), "process_name": "app", "recorded_time": date_time(moment),
                "reporter": "app", "severity": 6, "systemd_unit": "app.service", "transport": "syslog",
                "user_identifier": 0,
            }, [(moment, "Content Modification Time")])


def date_time(moment):
    """A date and time value."""
    return {"__class_name__": "PosixTimeInMicroseconds", "__type__": "DateTimeValues", "timestamp": moment}


def fill(host, count):
    """Files, logs and journals in turn, so that all times are everywhere."""
    files, number = 0, 0
    while host.events < count:
        share = min(LINES, max(1, (count - host.events) // 10 * 4))
        for _ in range(share // 4):
            host.file(files)
            files += 1
        host.syslog(number, min(share, count - host.events))
        host.journal(number, min(share // 2 + 1, count - host.events))
        number += 1
    for table in host.rows:
        host.flush(table)


def main():
    """Writes the storage file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("count", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    if os.path.exists(options.store):
        os.unlink(options.store)
    with contextlib.closing(sqlite3.connect(options.store)) as database:
        database.executescript(SCHEMA)
        fill(Host(database, options.seed), options.count)
        database.commit()


if __name__ == "__main__":
    main()
