"""Writes storage files with Plaso's own storage writer."""

import collections
import sqlite3

from plaso.containers import events, sessions
from plaso.lib import definitions
from plaso.storage.sqlite import writer

# The last format of before 2026-05; the tables that are read are laid out alike (plaso/storage/sqlite/sqlite_file.py).
EARLIER_FORMAT = 20230327


class Store:
    """A storage file that is being written; closed at the end of a `with`."""

    def __init__(self, path, compression="zlib"):
        self.path = path
        self.count = collections.Counter()
        self._writer = writer.SQLiteStorageWriter()
        self._writer.Open(path=str(path))
        if compression == "none":
            self._as_plain_text()

    def _as_plain_text(self):
        # Plaso has no option for it: the store asks its attribute each time, and writes it down when opened.
        store = self._writer._store  # pylint: disable=protected-access
        store.compression_format = definitions.COMPRESSION_FORMAT_NONE
        store._cursor.execute("UPDATE metadata SET value = 'none' WHERE key = 'compression_format'")

    def __enter__(self):
        self._writer.AddAttributeContainer(sessions.Session())
        return self

    def __exit__(self, *_):
        self._writer.Close()

    def stream(self, path_spec=None, **hashes):
        """Adds an event data stream."""
        made = events.EventDataStream()
        made.path_spec = path_spec
        for name, value in hashes.items():
            setattr(made, name, value)
        self._writer.AddAttributeContainer(made)
        return made

    def data(self, made, stream=None, hash_value=None):
        """Adds event data, in a stream and with its hash as Plaso's workers give it."""
        if stream is not None:
            made.SetEventDataStreamIdentifier(stream.GetIdentifier())
        if hash_value is None:
            hash_value = event_values_hash(made, stream, self.count["data"])
        made._event_values_hash = hash_value or None  # pylint: disable=protected-access
        self._writer.AddAttributeContainer(made)
        self.count["data"] += 1
        return made

    def event(self, made, data):
        """Adds an event of event data."""
        made.SetEventDataIdentifier(data.GetIdentifier())
        self._writer.AddAttributeContainer(made)
        self.count["events"] += 1
        return made

    def tag(self, event, *labels):
        """Adds a tag; psort takes the first of several."""
        made = events.EventTag()
        made.labels = list(labels)
        made.SetEventIdentifier(event.GetIdentifier())
        self._writer.AddAttributeContainer(made)


def event_values_hash(made, stream, number):
    """Plaso's own hash, or a number where it has none for such values."""
    try:
        return events.CalculateEventValuesHash(made, stream)
    except (RuntimeError, TypeError, ValueError):
        return f"{number:032x}"


def as_earlier_format(path):
    """Makes of a storage file one as Plaso before 2026-05 would have written it."""
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE metadata SET value = ? WHERE key = 'format_version'", (str(EARLIER_FORMAT),))
        for table in ("data_type_count",):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
    connection.close()
