"""A Plaso whose runs come to their end, inside the cage: each slice is read until /plaso/finish or /plaso/finish-SLICE is
there, and then has a storage file with one event for each log of the disks that the claims make.

usage: slices.py SCRIPT ARGUMENTS...       what Plaso's Python is called with: log2timeline, or the export
"""

import json
import os
import re
import sqlite3
import sys

import standin

LOGS = [f"/var/log/{name}" for name in ("auth.log", "kern.log", "syslog")]
FOLDERS = ["/", "/var", "/var/log"]
TABLES = """
create table metadata (key text, value text);
create table session (_identifier integer primary key, completion_time integer, aborted integer);
create table event_source (_identifier integer primary key, path_spec text);
create table event_data_stream (_identifier integer primary key, path_spec text);
create table event_data (_identifier integer primary key, _data blob);
create table event (_identifier integer primary key, _event_data_identifier text);
insert into metadata values ('format_version', '20260516'), ('serialization_format', 'json'), ('compression_format', 'none');
insert into session values (1, 1, 0);
"""


def extract(storage, evidence):
    """What Plaso keeps, as far as the verdict asks for it."""
    database = sqlite3.connect(storage)
    database.executescript(TABLES)
    for number, path in enumerate(LOGS + FOLDERS, 1):
        kind, place = ("OS", evidence + path) if os.path.isdir(evidence) else ("EXT", path)
        spec = json.dumps({"type_indicator": kind, "location": place})
        database.execute("insert into event_source values (?, ?)", (number, spec))
        if path in LOGS:
            data = {"_parser_chain": "text/syslog_traditional", "_event_data_stream_identifier": f"event_data_stream.{number}"}
            database.execute("insert into event_data_stream values (?, ?)", (number, spec))
            database.execute("insert into event_data values (?, ?)", (number, json.dumps(data)))
            database.execute("insert into event values (?, ?)", (number, f"event_data.{number}"))
    database.commit()


def export(documents, receipt):
    """The documents, as many as there are events."""
    with open(documents, "w", encoding="utf-8") as file:
        for number, path in enumerate(LOGS):
            about = {"timestamp": number, "datetime": f"2026-11-20T10:00:0{number}+00:00", "message": path}
            file.write(json.dumps(about) + "\n")
    with open(receipt, "w", encoding="utf-8") as file:
        json.dump({"documents": len(LOGS), "events": len(LOGS)}, file)


def main():
    words = dict(zip(sys.argv, sys.argv[1:]))
    if "export" in sys.argv[1]:
        export(sys.argv[3], words["--receipt"])
        return
    with open(words["--file_filter"], encoding="utf-8") as file:
        name = re.search(r"Slice (\S+?)['\"]?$", file.read(), re.M)[1]
    standin.read_all(sys.argv[-1], ("/plaso/finish", f"/plaso/finish-{name}"))
    extract(words["--storage_file"], sys.argv[-1])
    print("Processing completed.")


main()
