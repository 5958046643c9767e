"""Whether psort would survive an event: the same steps on one event, outside of a storage file."""

import json
import pathlib

import plaso
from opensearchpy import serializer as opensearch_serializer
from plaso.containers import events
from plaso.output import mediator, opensearch_ts
from plaso.serializer import json_serializer
from plaso.storage import factory

FORMATTERS = pathlib.Path(plaso.__file__).parent / "data" / "formatters"

MOST_VOLUMES = 1000


class Trial:
    """Plaso's own code for one event at a time."""

    def __init__(self, store, custom=None):
        """Like psort on a storage file, of which messages of Windows' event log need the tables."""
        reader = factory.StorageFactory.CreateStorageReaderForFile(str(store))
        self.mediator = mediator.OutputMediator(reader, data_location=str(FORMATTERS.parent))
        self.mediator.ReadMessageFormattersFromDirectory(str(FORMATTERS))
        if custom:
            self.mediator.ReadMessageFormattersFromFile(custom, override_existing=True)
        self._broken = self._find_broken()
        self.module = opensearch_ts.OpenSearchTimesketchOutputModule()
        self.module.SetTimelineIdentifier(1)
        self.serializer = opensearch_serializer.JSONSerializer()

    def _find_broken(self):
        """The data types whose formatter Plaso itself refuses, but only the first time that it is asked."""
        found = set()
        for name, formatter in self.mediator._message_formatters.items():  # pylint: disable=protected-access
            try:
                formatter.GetMessage({})
            except RuntimeError:
                found.add(name)
        return found

    def stored(self, data):
        """Event data as a storage file holds it: JSON. None where it cannot hold it."""
        try:
            found = json_serializer.JSONAttributeContainerSerializer.WriteSerializedDict(data)
            return json.dumps(found)
        except (TypeError, ValueError, AttributeError):
            return None

    def survives(self, text, event, stream, tag):
        """Whether psort makes a document of it."""
        found = json.loads(text)
        data_type, volumes = found.get("data_type"), found.get("number_of_volumes")
        if not isinstance(data_type, str) or data_type.lower() in self._broken:
            return False
        # psort makes a text for each of them (plaso/formatters/winprefetch.py) until there is no memory left.
        if isinstance(volumes, int) and volumes > MOST_VOLUMES:
            return False
        try:
            data = json_serializer.JSONAttributeContainerSerializer.ReadSerialized(text)
            values = self.module.GetFieldValues(self.mediator, event, data, stream, tag)
            self.serializer.dumps(values)
        # Whatever it is: psort would end.
        except Exception:  # pylint: disable=broad-except
            return False
        return True


def event(timestamp, description, date_time=None):
    """An event that has no event data yet."""
    made = events.EventObject()
    made.timestamp, made.timestamp_desc, made.date_time = timestamp, description, date_time
    return made
