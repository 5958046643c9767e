#!/usr/bin/env python3
"""Makes what fuzzing begins with, of Plaso's own formatters and of storage files that Plaso's writer wrote.

usage: seeds.py FOLDER

Run with the Python that has Plaso. FOLDER then has Plaso's formatters, and a folder of seeds for each target.
"""

import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import zlib

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
EXPORT = CHECKOUT / "tests" / "export"

# Kinds of generate.py, and how many event data go into one seed: with few a small file is whole.
KINDS = (("formatters", 8), ("streams", 16), ("order", 20), ("raw", 50), ("absent", 10))
TABLES = {"metadata", "event", "event_data", "event_data_stream", "event_tag"}


def generated(kind, path):
    """A storage file of one kind, unpacked."""
    command = [sys.executable, "-B", EXPORT / "generate.py", kind, path, "--events", "1"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONHASHSEED": "0"})
    connection = sqlite3.connect(path, isolation_level=None)
    compress(connection, zlib.decompress, "none")
    connection.close()


def compress(connection, function, name):
    """Changes how event data are compressed."""
    connection.create_function("changed", 1, function)
    connection.execute("UPDATE event_data SET _data = changed(_data)")
    connection.execute("UPDATE metadata SET value = ? WHERE key = 'compression_format'", (name,))


def parts(whole, size):
    """Storage files of so many event data each; the less there is in one, the more of it matters."""
    with sqlite3.connect(whole) as connection:
        (last,) = connection.execute("SELECT max(_identifier) FROM event_data").fetchone()
    connection.close()
    for first in range(1, last + 1, size):
        path = whole.with_name("part.plaso")
        shutil.copyfile(whole, path)
        connection = sqlite3.connect(path, isolation_level=None)
        cut(connection, first, first + size - 1)
        yield path.read_bytes()
        compress(connection, zlib.compress, "zlib")
        connection.execute("VACUUM")
        connection.close()
        yield path.read_bytes()


def cut(connection, first, last):
    """Leaves these event data and what belongs to them, in the smallest pages."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table in tables - TABLES:
        if not table.startswith("sqlite_"):
            connection.execute(f"DROP TABLE {table}")
    kept = (first, last)
    connection.execute("DELETE FROM event_data WHERE _identifier NOT BETWEEN ? AND ?", kept)
    connection.execute("DELETE FROM event WHERE CAST(substr(_event_data_identifier, 12) AS INTEGER) "
                       "NOT BETWEEN ? AND ?", kept)
    if "event_tag" in tables:
        connection.execute("DELETE FROM event_tag WHERE substr(_event_identifier, 7) NOT IN "
                           "(SELECT CAST(_identifier AS TEXT) FROM event)")
    if "event_data_stream" in tables:
        connection.execute("DELETE FROM event_data_stream WHERE NOT EXISTS (SELECT * FROM event_data WHERE "
                           "instr(_data, '\"event_data_stream.' || event_data_stream._identifier || '\"'))")
    connection.execute("PRAGMA page_size = 512")
    connection.execute("VACUUM")


def rows(store):
    """The JSON in a storage file that is not compressed."""
    connection = sqlite3.connect(store)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    for table, column in (("event_data", "_data"), ("event_data_stream", "path_spec"), ("event_tag", "labels")):
        found = connection.execute(f"SELECT {column} FROM {table}") if table in tables else ()
        for (text,) in found:
            if text:
                yield text if isinstance(text, bytes) else text.encode("utf-8")
    connection.close()


def definitions(folder):
    """Formatters one by one: of a file with hundreds most changes would hit nothing that is looked at."""
    for path in (*sorted(folder.glob("*.yaml")), EXPORT / "formatters.yaml"):
        yield from path.read_text(encoding="utf-8").split("\n---\n")


def keep(folder, contents):
    """Writes seeds, each once."""
    folder.mkdir(parents=True)
    for number, content in enumerate(dict.fromkeys(contents)):
        (folder / f"{number:04}").write_bytes(content)


def main():
    """Makes all seeds."""
    import plaso  # pylint: disable=import-outside-toplevel

    folder = pathlib.Path(sys.argv[1])
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    formatters = pathlib.Path(plaso.__file__).parent / "data" / "formatters"
    shutil.copytree(formatters, new / "formatters")
    keep(new / "seeds" / "yaml", [text.encode("utf-8") for text in definitions(formatters)])
    stores, texts = [], []
    for kind, size in KINDS:
        whole = new / f"{kind}.plaso"
        generated(kind, whole)
        stores += parts(whole, size)
        texts += rows(whole)
    keep(new / "seeds" / "store", stores)
    keep(new / "seeds" / "json", texts)
    for name in ("seeds", "formatters"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (new / name).rename(folder / name)
    shutil.rmtree(new)


if __name__ == "__main__":
    main()
