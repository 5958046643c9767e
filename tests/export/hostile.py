#!/usr/bin/env python3
"""Writes a storage file such as somebody hostile, or a program gone wrong, would leave.

usage: hostile.py KIND STORE | list -

Only SQLite's own means are used: everything here is a valid database, whose schema or rows are not Plaso's.
"""

import argparse
import json
import sqlite3
import zlib

EVENT = ("CREATE TABLE event (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, _event_data_identifier TEXT, "
         "date_time TEXT, timestamp INTEGER, timestamp_desc TEXT)")
EVENT_DATA = "CREATE TABLE event_data (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, _data BLOB)"
STREAM = ("CREATE TABLE event_data_stream (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, file_entropy TEXT, "
          "md5_hash TEXT, path_spec TEXT, sha1_hash TEXT, sha256_hash TEXT, yara_match TEXT)")
TAG = "CREATE TABLE event_tag (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, _event_identifier TEXT, labels TEXT)"
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x"


def data(**attributes):
    """Compressed event data."""
    return zlib.compress(text(**attributes).encode("utf-8"))


def text(**attributes):
    """Event data as JSON."""
    found = {"__type__": "AttributeContainer", "__container_type__": "event_data", "data_type": "syslog:line",
             "_event_values_hash": "0" * 32, **attributes}
    return json.dumps(found)


def with_data(connection, content):
    """One event with this event data."""
    connection.execute(EVENT)
    connection.execute(EVENT_DATA)
    connection.execute("INSERT INTO event_data VALUES (1, ?)", (content,))
    connection.execute("INSERT INTO event VALUES (1, 'event_data.1', NULL, 5, 'x')")


def one_event(connection):
    """One usual event."""
    with_data(connection, data(body="x"))


def endless_view(connection):
    """As many events as SQLite can count."""
    connection.execute(EVENT_DATA)
    connection.execute(f"CREATE VIEW event AS {ENDLESS} AS _identifier, 'event_data.1' AS _event_data_identifier, "
                       "NULL AS date_time, x AS timestamp, 'x' AS timestamp_desc FROM c")


def cyclic_views(connection):
    """A view of a view of itself."""
    connection.execute("CREATE VIEW event AS SELECT * FROM other")
    connection.execute("CREATE VIEW other AS SELECT * FROM event")


def view_of_data(connection):
    """Event data that is a view."""
    one_event(connection)
    connection.execute("ALTER TABLE event_data RENAME TO kept")
    connection.execute("CREATE VIEW event_data AS SELECT _identifier, _data FROM kept")


def triggers(connection):
    """Triggers on everything; reading starts none."""
    one_event(connection)
    connection.execute("CREATE TRIGGER t AFTER INSERT ON event BEGIN DELETE FROM event; END")


def generated_columns(connection):
    """A column that is computed when it is read, as large as SQLite makes any."""
    connection.execute("CREATE TABLE event (_identifier INTEGER PRIMARY KEY, _event_data_identifier TEXT, "
                       "date_time TEXT, timestamp INTEGER, timestamp_desc TEXT "
                       "GENERATED ALWAYS AS (hex(zeroblob(400000000))) VIRTUAL)")
    connection.execute(EVENT_DATA)
    connection.execute("INSERT INTO event_data VALUES (1, ?)", (data(body="x"),))
    connection.execute("INSERT INTO event (_identifier, _event_data_identifier, timestamp) "
                       "VALUES (1, 'event_data.1', 5)")


def virtual_table(connection):
    """Events from a module instead of a table."""
    connection.execute("CREATE VIRTUAL TABLE event USING fts5(_event_data_identifier, date_time, timestamp, "
                       "timestamp_desc)")


def other_columns(connection):
    """A table of events without the columns of one."""
    connection.execute("CREATE TABLE event (_identifier INTEGER PRIMARY KEY, x TEXT)")
    connection.execute("INSERT INTO event VALUES (1, 'x')")


def without_rowid(connection):
    """A table that has no row numbers."""
    connection.execute("CREATE TABLE event (_identifier INTEGER, _event_data_identifier TEXT, date_time TEXT, "
                       "timestamp INTEGER, timestamp_desc TEXT, PRIMARY KEY (timestamp_desc)) WITHOUT ROWID")
    connection.execute("INSERT INTO event VALUES (1, 'event_data.1', NULL, 5, 'x')")


def odd_types(connection):
    """Values of other types than Plaso's, which SQLite does not mind."""
    one_event(connection)
    rows = [("event_data.1", "yesterday", "x"), ("event_data.1", 1.5, "x"), ("event_data.1", b"\x00", "x"),
            ("event_data.1", 5, b"\xff"), (b"event_data.1", 5, "x"), (1, 5, "x"), ("event_data.1", 5, 7)]
    connection.executemany("INSERT INTO event (_event_data_identifier, timestamp, timestamp_desc) VALUES (?, ?, ?)",
                           rows)


def no_time(connection):
    """An event without a time. Plaso always writes one; psort would make a document of it."""
    one_event(connection)
    connection.execute("UPDATE event SET timestamp = NULL")


def text_not_unicode(connection):
    """Text that is not UTF-8."""
    one_event(connection)
    connection.execute("UPDATE event SET timestamp_desc = CAST(x'41ff42' AS TEXT)")


def other_identifiers(name):
    """An event whose event data is called by another name."""
    def change(connection):
        one_event(connection)
        connection.execute("UPDATE event SET _event_data_identifier = ?", (name,))
    return change


def content(made):
    """An event whose event data is this."""
    return lambda connection: with_data(connection, made())


def inflated(size):
    """Event data that is small, and large when inflated."""
    block = 1 << 20
    deflate = zlib.compressobj(9)
    first = deflate.compress(text(body="")[:-2].encode("ascii")) + deflate.flush(zlib.Z_FULL_FLUSH)
    # After a full flush, each further block of the same text has the same bytes.
    again = deflate.compress(b"a" * block) + deflate.flush(zlib.Z_FULL_FLUSH)
    last = deflate.compress(b'"}') + deflate.flush()
    if size <= 1 << 26:
        checksum = zlib.adler32(text(body="a" * size).encode("ascii"))
        last = last[:-4] + checksum.to_bytes(4, "big")
    return first + again * (size // block) + last


def deep(opening, closing, depth):
    """Event data with values within values."""
    inner = opening * depth + "1" + closing * depth
    return zlib.compress(text(body=0).replace('"body": 0', f'"body": {inner}').encode("ascii"))


def deep_path(connection):
    """A path specification with more parents than anything has."""
    one_event(connection)
    connection.execute("UPDATE event_data SET _data = ?", (
        data(body="x", _event_data_stream_identifier="event_data_stream.1"),))
    layer = '{"__type__": "PathSpec", "type_indicator": "RAW", "parent": '
    last = '{"__type__": "PathSpec", "type_indicator": "OS", "location": "/x"}'
    connection.execute(STREAM)
    connection.execute("INSERT INTO event_data_stream (path_spec) VALUES (?)", (layer * 50_000 + last + "}" * 50_000,))


def stream_with(column, value):
    """An event data stream with this in a column."""
    def change(connection):
        one_event(connection)
        connection.execute("UPDATE event_data SET _data = ?", (
            data(body="x", _event_data_stream_identifier="event_data_stream.1"),))
        connection.execute(STREAM)
        connection.execute(f"INSERT INTO event_data_stream ({column}) VALUES (?)", (value,))
    return change


def tag_with(labels):
    """A tag with these labels."""
    def change(connection):
        one_event(connection)
        connection.execute(TAG)
        connection.execute("INSERT INTO event_tag VALUES (1, 'event.1', ?)", (labels,))
    return change


def metadata(key, value):
    """Other metadata."""
    def change(connection):
        one_event(connection)
        connection.execute("UPDATE metadata SET value = ? WHERE key = ?", (value, key))
    return change


def metadata_view(connection):
    """Metadata that never end."""
    connection.execute("DROP TABLE metadata")
    connection.execute(f"CREATE VIEW metadata AS {ENDLESS} AS key, 'x' AS value FROM c")


def far_rows(connection):
    """Rows numbered from the first to the last that SQLite has."""
    one_event(connection)
    for row in (-(2**63), -1, 0, 2**63 - 1):
        connection.execute("INSERT INTO event_data VALUES (?, ?)", (row, data(body=str(row))))
        connection.execute("INSERT INTO event VALUES (?, ?, NULL, 5, 'x')", (row, f"event_data.{row}"))


# Kinds that are right all the same, such as must be refused, and such as need only end.
RIGHT = {
    "one_event": one_event, "triggers": triggers,
    # psort looks at the number only.
    "data_of_another_table": other_identifiers("event_source.1"),
}
REFUSED = {
    "endless_view": endless_view, "cyclic_views": cyclic_views, "view_of_data": view_of_data,
    "generated_columns": generated_columns, "virtual_table": virtual_table, "other_columns": other_columns,
    "without_rowid": without_rowid, "no_time": no_time, "missing_data": other_identifiers("event_data.2"),
    "no_identifier": other_identifiers(None),
    "far_identifier": other_identifiers("event_data.99999999999999999999"),
    "not_zlib": content(lambda: b"\x00not zlib"), "cut_zlib": content(lambda: data(body="x" * 500)[:-20]),
    "null_data": content(lambda: None), "not_json": content(lambda: zlib.compress(b"{not json")),
    "not_utf8": content(lambda: zlib.compress(b'{"a": "\xff"}')),
    "json_list": content(lambda: zlib.compress(b"[]")),
    "no_data_type": content(lambda: zlib.compress(b'{"__type__": "AttributeContainer", '
                                                  b'"__container_type__": "event_data"}')),
    "four_gigabytes": content(lambda: inflated(4 << 30)), "deep_list": content(lambda: deep("[", "]", 100_000)),
    "deep_dictionary": content(lambda: deep('{"a":', "}", 100_000)), "deep_path": deep_path,
    "too_old": metadata("format_version", "20211121"), "too_new": metadata("format_version", "20990101"),
    "no_version": metadata("format_version", "x"), "serialization": metadata("serialization_format", "xml"),
    "compression": metadata("compression_format", "zstd"), "metadata_view": metadata_view,
    "path_not_json": stream_with("path_spec", "{"), "yara_not_json": stream_with("yara_match", "["),
    "labels_not_json": tag_with("["),
}
ENDS = {
    "odd_types": odd_types, "text_not_unicode": text_not_unicode, "far_rows": far_rows,
    "labels_no_list": tag_with("{}"), "many_labels": tag_with(json.dumps(["x"] * 100_000)),
    "thirty_two_megabytes": content(lambda: inflated(32 << 20)), "little_depth": content(lambda: deep("[", "]", 30)),
    # psort dies of a type that dfVFS does not have; ours has no need to know it.
    "path_of_unknown_type": stream_with(
        "path_spec", '{"__type__": "PathSpec", "type_indicator": "NEW", "location": "/x"}'),
    "hash_blob": stream_with("md5_hash", b"\x00\xff"), "path_null": stream_with("path_spec", None),
}


def main():
    """Makes one storage file, or says which kinds there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=sorted({*RIGHT, *REFUSED, *ENDS, "list"}))
    parser.add_argument("store")
    options = parser.parse_args()
    if options.kind == "list":
        for group, kinds in (("right", RIGHT), ("refused", REFUSED), ("ends", ENDS)):
            for kind in kinds:
                print(group, kind)
        return
    with sqlite3.connect(options.store) as connection:
        connection.execute("CREATE TABLE metadata (key TEXT, value TEXT)")
        connection.executemany("INSERT INTO metadata VALUES (?, ?)", [
            ("format_version", "20260516"), ("compression_format", "zlib"), ("serialization_format", "json")])
        {**RIGHT, **REFUSED, **ENDS}[options.kind](connection)
    connection.close()


if __name__ == "__main__":
    main()
