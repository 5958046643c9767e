#!/usr/bin/env python3
"""Writes the documents that psort would send to OpenSearch for Timesketch to a file.

    export_documents.py STORE.plaso OUTPUT.jsonl --receipt RECEIPT.json
    export_documents.py STORE.plaso --rows FORMATTERS

This runs Plaso's own psort with its output module opensearch_ts, in this process.
Only the client that would speak to the server is replaced, by one that writes every
document as one line of JSON. A document is therefore what Timesketch would have
received, in psort's order and without the duplicates that psort leaves out, except

- it has no __ts_timeline_id, which belongs to one import, not to the event;
- text that is not Unicode (lone surrogates, as from undecodable bytes in file names or
  from halves of characters in JSON logs) is written as \\uXXXX escapes, where opensearch-py would send invalid UTF-8;
- NaN and infinities, for which JSON has no number, are the strings "NaN", "Infinity"
  and "-Infinity".

The output is complete if, and only if, the exit code is 0 and the receipt is there; it
is written last. On failure the exit code is 1, with one sentence on standard error; an
output that was begun stays. Beside the output, psort's warnings go to OUTPUT.log.gz.

With --rows it answers questions for single documents instead, as long as standard input
is open: each line is the row of an event, each answer a line of whether it has text that
is not Unicode (0 or 1), how many numbers were replaced, and the document.
"""

import argparse
import contextlib
import io
import json
import math
import os
import re
import sys
import tempfile

_SURROGATE = re.compile("[\ud800-\udfff]")

# psort insists on a timeline identifier other than 0. It is left out of the documents.
_TIMELINE_IDENTIFIER = 1

_LONGEST_SENTENCE = 400

# The format whose single events can be made into documents, though psort takes only its own.
_OLDEST_FORMAT = 20230327


class ExportError(Exception):
    """The documents cannot be exported; the text is a sentence for a person.

    psort carries on after a ValueError or an OpenSearchException of its client and loses
    up to a thousand documents, so this must be neither.
    """


class DocumentFile:
    """A file of documents, and what was written to it.

    Attributes:
        documents (int): number of documents.
        escaped_surrogates (int): documents with text that is not Unicode.
        replaced_numbers (int): numbers that JSON does not have.
        first (tuple[int, str]): earliest timestamp and its date and time, or None.
        last (tuple[int, str]): latest timestamp and its date and time, or None.
    """

    def __init__(self, file_object, convert):
        """Initializes a document file.

        Args:
            file_object (file): binary file to write to.
            convert (function): makes something of a value of a type that JSON does not
                have, or raises; opensearch-py's own.
        """
        self.documents = 0
        self.escaped_surrogates = 0
        self.replaced_numbers = 0
        self.first = None
        self.last = None
        self._convert = convert
        self._file_object = file_object
        # The form that opensearch-py gives its documents.
        self._encode = json.JSONEncoder(
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
            default=self._convert_finite,
        ).encode

    def write(self, document):
        """Writes a document.

        Args:
            document (dict[str, object]): the document.

        Raises:
            ExportError: if the document cannot be written.
        """
        document.pop("__ts_timeline_id", None)
        try:
            self._file_object.write(self.serialize(document) + b"\n")
        except OSError as exception:
            raise ExportError(f"write the documents: {exception.strerror}") from exception
        # Whatever a value of an unforeseen type raises must not reach psort as it is.
        except Exception as exception:
            raise ExportError(
                f"write document {self.documents + 1} ({document.get('data_type')!s}, "
                f"{document.get('datetime')!s}): {exception!s}"
            ) from exception

        self.documents += 1

        timestamp = document.get("timestamp")
        if isinstance(timestamp, int):
            if self.first is None or timestamp < self.first[0]:
                self.first = (timestamp, document.get("datetime"))
            if self.last is None or timestamp >= self.last[0]:
                self.last = (timestamp, document.get("datetime"))

    def serialize(self, document):
        """Serializes a document.

        Args:
            document (dict[str, object]): the document.

        Returns:
            bytes: one line of JSON without its end.
        """
        try:
            text = self._encode(document)
        except ValueError:
            # Looking at every number of every document would cost more than coming
            # back for the rare one. Another ValueError comes again below.
            text = self._encode(self._finite(document))

        try:
            return text.encode("utf-8")
        except UnicodeEncodeError:
            self.escaped_surrogates += 1
            # In JSON text these can only be inside strings, where the escape is the
            # same character.
            text = _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
            return text.encode("utf-8")

    def _convert_finite(self, value):
        """Converts a value of a type that JSON does not have.

        Args:
            value (object): the value.

        Returns:
            object: a value that can be serialized.
        """
        return self._finite(self._convert(value))

    def _finite(self, value):
        """Replaces the numbers that JSON does not have.

        Args:
            value (object): the value.

        Returns:
            object: the value with strings in place of these numbers.
        """
        if isinstance(value, float) and not math.isfinite(value):
            self.replaced_numbers += 1
            if math.isnan(value):
                return "NaN"
            return "Infinity" if value > 0 else "-Infinity"

        if isinstance(value, dict):
            return {self._finite(key): self._finite(item) for key, item in value.items()}

        if isinstance(value, (list, tuple)):
            return [self._finite(item) for item in value]

        return value


class DocumentClient:
    """Stands in for opensearchpy.OpenSearch, as far as Plaso's output module uses it."""

    def __init__(self, document_file):
        """Initializes a client.

        Args:
            document_file (DocumentFile): where the documents go.
        """
        self._document_file = document_file
        self.indices = self

    def exists(self, index):  # pylint: disable=unused-argument
        """Says that the index is there, so that it is not created.

        Args:
            index (str): name of the index.

        Returns:
            bool: True.
        """
        return True

    def bulk(self, body, **_):
        """Writes the documents of a bulk request.

        Args:
            body (list[dict]): actions, each with its document after it.

        Raises:
            ExportError: if the request is not as expected or cannot be written.
        """
        actions, documents = body[0::2], body[1::2]
        if len(actions) != len(documents) or any(list(a) != ["index"] for a in actions):
            raise ExportError("understand what psort sends: this is not the psort it was made for")

        for document in documents:
            self._document_file.write(document)


class Words(io.TextIOBase):
    """Keeps the end of what psort says, in place of standard output and error."""

    _MOST = 8192

    def __init__(self):
        """Initializes an output writer."""
        super().__init__()
        self._text = ""

    def write(self, text):
        """Keeps a text.

        Args:
            text (str): what psort says.

        Returns:
            int: number of characters.
        """
        self._text = (self._text + text)[-self._MOST :]
        return len(text)

    # The name that Plaso's own output writers have.
    Write = write

    def reason(self):
        """Finds the reason for a failure.

        Returns:
            str: the reason.
        """
        lines = [line.strip() for line in self._text.splitlines() if line.strip()]
        for line in lines:
            if line.startswith("ERROR: "):
                return line[len("ERROR: ") :]
        return lines[-1] if lines else "it does not say why"


class _Counters:
    """Keeps the last of psort's status updates."""

    def __init__(self):
        """Initializes the counters."""
        self.duplicates = None

    def update(self, processing_status):
        """Takes a status update.

        Args:
            processing_status (ProcessingStatus): the status.
        """
        if processing_status.events_status:
            self.duplicates = processing_status.events_status.number_of_duplicate_events


def _count_events(store):
    """Counts the events in a storage file.

    Args:
        store (str): path of the storage file.

    Returns:
        int: number of events.

    Raises:
        ExportError: if this is not a storage file that can be read.
    """
    from plaso.containers import events
    from plaso.storage import factory

    # SQLite would create a file that is not there.
    if not os.path.isfile(store):
        raise ExportError(f"read {store}: no such file")

    with open(store, "rb") as file_object:
        header = file_object.read(100)
        size = os.fstat(file_object.fileno()).st_size
    if not header.startswith(b"SQLite format 3\0"):
        raise ExportError(f"read {store}: it is not a Plaso storage file")
    # SQLite notices pages that are missing, but reads a last one that is cut off as if
    # there were zeros.
    page_size = int.from_bytes(header[16:18], "big")
    if size % (0x10000 if page_size == 1 else page_size or size + 1):
        raise ExportError(f"read {store}: its end is missing")

    reader = factory.StorageFactory.CreateStorageReaderForFile(store)
    if not reader:
        raise ExportError(f"read {store}: it is damaged, or not a Plaso storage file")

    try:
        return reader.GetNumberOfAttributeContainers(events.EventObject.CONTAINER_TYPE)
    finally:
        reader.Close()


def _prepare_psort(store, folder, log, custom, words):
    """Prepares psort.

    Args:
        store (str): path of the storage file.
        folder (str): path of a folder to write temporary files to.
        log (str): path of psort's log file.
        custom (str): path of a file of formatters, or None.
        words (Words): takes what psort says.

    Returns:
        PsortTool: psort.

    Raises:
        ExportError: if psort cannot work with the storage file.
    """
    from plaso.cli import psort_tool

    # psort's script is not used: after this, it only asks whether the release is old and
    # turns some, but not all, errors into words.
    tool = psort_tool.PsortTool(output_writer=words)
    # A warning, of an encoding of ASCII for example, is no reason to wait for a person.
    tool._WaitUserWarning = lambda: None  # pylint: disable=protected-access

    # The output module wants a file of mappings for the index that it will not create.
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".mappings-") as mappings:
        mappings.write("{}\n")
        mappings.flush()
        arguments = ["--unattended", "--quiet", "--status_view", "none"]
        arguments += ["--logfile", log, "--output_format", "opensearch_ts"]
        arguments += ["--opensearch_mappings", mappings.name]
        if custom:
            arguments += ["--custom_formatter_definitions", custom]
        arguments += ["--timeline_identifier", str(_TIMELINE_IDENTIFIER), store]
        # Plaso looks for the output module in sys.argv, whatever it is asked to parse.
        sys.argv = ["psort", *arguments]
        try:
            accepted = tool.ParseArguments(arguments)
        # Plaso's parser of arguments ends the program when it does not know one.
        except SystemExit:
            accepted = False
        if not accepted:
            raise ExportError(f"run psort on {store}: {words.reason()}")
    return tool


def _run_psort(store, folder, log, custom, document_file, words):
    """Runs psort.

    Args:
        store (str): path of the storage file.
        folder (str): path of a folder to write temporary files to.
        log (str): path of psort's log file.
        custom (str): path of a file of formatters, or None.
        document_file (DocumentFile): where the documents go.
        words (Words): takes what psort says.

    Returns:
        int: number of events that psort left out as duplicates.

    Raises:
        ExportError: if psort cannot work with the storage file.
    """
    from plaso.output import shared_opensearch

    client = DocumentClient(document_file)
    shared_opensearch.opensearchpy.OpenSearch = lambda *_, **__: client

    counters = _Counters()
    tool = _prepare_psort(store, folder, log, custom, words)
    # The engine forgets its counters at the end, but reports them just before.
    tool._status_view.GetAnalysisStatusUpdateCallback = lambda: counters.update  # pylint: disable=protected-access
    tool.ProcessStorage()

    if counters.duplicates is None:
        raise ExportError("learn from psort how many events are duplicates: it does not say")
    return counters.duplicates


class SingleDocuments:
    """Makes the documents of single events with psort's own code."""

    def __init__(self, store, formatters, custom, words):
        """Opens a storage file.

        Args:
            store (str): path of the storage file.
            formatters (str): path of Plaso's folder of formatters.
            custom (str): path of a file of formatters, or None.
            words (Words): takes what psort says.

        Raises:
            ExportError: if psort cannot work with the storage file.
        """
        import opensearchpy.serializer
        from plaso.multi_process import output_engine
        from plaso.output import opensearch_ts
        from plaso.storage import factory
        from plaso.storage.sqlite import sqlite_file

        # Plaso refuses the format before this one, in which the tables that events are in are the same.
        reader_type = sqlite_file.SQLiteStorageFile
        reader_type._READ_COMPATIBLE_FORMAT_VERSION = _OLDEST_FORMAT  # pylint: disable=protected-access
        _count_events(store)
        folder = tempfile.gettempdir()
        tool = _prepare_psort(store, folder, os.devnull, custom, words)
        # pylint: disable=protected-access
        configuration = tool._CreateOutputAndFormattingProcessingConfiguration()
        configuration.data_location = os.path.dirname(formatters)
        engine = output_engine.OutputAndFormattingMultiProcessEngine()
        self._reader = factory.StorageFactory.CreateStorageReaderForFile(store)
        self._mediator = engine._CreateOutputMediator(self._reader, configuration)
        self._module = opensearch_ts.OpenSearchTimesketchOutputModule()
        self._document_file = DocumentFile(None, opensearchpy.serializer.JSONSerializer().default)

    def answer(self, row):
        """Makes one document.

        Args:
            row (int): row of the event.

        Returns:
            bytes: a line: the two numbers of changes, and the document.

        Raises:
            ExportError: if there is no such event.
        """
        event = self._reader.GetAttributeContainerByIndex("event", row - 1)
        if event is None:
            raise ExportError(f"find event {row}")

        event_data = self._reader.GetAttributeContainerByIdentifier(
            "event_data", event.GetEventDataIdentifier()
        )
        event_data_stream = None
        stream_identifier = event_data.GetEventDataStreamIdentifier()
        if stream_identifier:
            event_data_stream = self._reader.GetAttributeContainerByIdentifier(
                "event_data_stream", stream_identifier
            )
        event_tag = self._reader.GetEventTagByEventIdentifer(event.GetIdentifier())

        document = self._module.GetFieldValues(
            self._mediator, event, event_data, event_data_stream, event_tag
        )
        self._document_file.escaped_surrogates = 0
        self._document_file.replaced_numbers = 0
        line = self._document_file.serialize(document)
        counts = (
            self._document_file.escaped_surrogates,
            self._document_file.replaced_numbers,
        )
        return b"%d %d %s\n" % (*counts, line)


def answer_rows(store, formatters, custom, questions, answers, words):
    """Answers questions for single documents until there are no more.

    Args:
        store (str): path of the storage file.
        formatters (str): path of Plaso's folder of formatters.
        custom (str): path of a file of formatters, or None.
        questions (file): rows of events, a line each.
        answers (file): takes the answers.
        words (Words): takes what psort says.

    Raises:
        ExportError: if a document cannot be made.
    """
    try:
        documents = SingleDocuments(store, formatters, custom, words)
    except ImportError as exception:
        raise ExportError(f"start psort: {exception!s}") from exception

    for question in questions:
        answers.write(documents.answer(int(question)))
        answers.flush()


def _write_receipt(path, receipt):
    """Writes the receipt so that it is there as a whole or not at all.

    Args:
        path (str): path of the receipt.
        receipt (dict[str, object]): the receipt.
    """
    with open(f"{path}.new", "w", encoding="utf-8") as file_object:
        json.dump(receipt, file_object)
        file_object.write("\n")
        file_object.flush()
        os.fsync(file_object.fileno())
    os.replace(f"{path}.new", path)

    descriptor = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def export(store, output, receipt, custom, words):
    """Exports the documents of a storage file.

    Args:
        store (str): path of the storage file.
        output (str): path of the file of documents, which must not exist.
        receipt (str): path of the receipt.
        custom (str): path of a file of formatters, or None.
        words (Words): takes what psort says.

    Raises:
        ExportError: if the documents cannot be exported.
    """
    try:
        import opensearchpy.serializer
        import plaso
        import plaso.output.shared_opensearch
    except ImportError as exception:
        raise ExportError(f"start psort: {exception!s}") from exception

    # SQLite sorts the events by time in a temporary file; where it would look for a
    # place by itself, /var/tmp and /tmp, may be small or read-only.
    folder = os.path.dirname(output)
    os.environ["SQLITE_TMPDIR"] = folder

    events = _count_events(store)

    try:
        # Not "w": a file that is there, or a link, is not ours to overwrite.
        file_object = open(output, "xb", buffering=1024 * 1024)
    except OSError as exception:
        raise ExportError(f"create {output}: {exception.strerror}") from exception

    with file_object:
        convert = opensearchpy.serializer.JSONSerializer().default
        document_file = DocumentFile(file_object, convert)
        log = f"{output}.log.gz"
        duplicates = _run_psort(store, folder, log, custom, document_file, words)

        documents = document_file.documents
        if documents + duplicates != events:
            raise ExportError(
                f"export all events: {documents} documents and {duplicates} duplicates "
                f"came of {events} events"
            )

        file_object.flush()
        os.fsync(file_object.fileno())

    _write_receipt(
        receipt,
        {
            "schema": 1,
            "documents": documents,
            "duplicates": duplicates,
            "events": events,
            "escaped_surrogates": document_file.escaped_surrogates,
            "replaced_numbers": document_file.replaced_numbers,
            "plaso": plaso.__version__,
            "first": document_file.first and document_file.first[1],
            "last": document_file.last and document_file.last[1],
        },
    )


def _sentence(exception):
    """Makes one printable line of an exception.

    Args:
        exception (Exception): the exception.

    Returns:
        str: the line.
    """
    text = str(exception)
    if not isinstance(exception, ExportError):
        # Others do not say what was being done, and sometimes nothing at all.
        text = f"run psort: {type(exception).__name__}: {text}"
    text = " ".join(text.split())[:_LONGEST_SENTENCE]
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text.encode("ascii", "backslashreplace").decode("ascii")


def main():
    """Exports the documents of the storage file named on the command line.

    Returns:
        int: exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("store", help="Plaso storage file")
    parser.add_argument("output", nargs="?", help="file to create, one document per line")
    parser.add_argument("--receipt", help="file to write what was exported to")
    parser.add_argument(
        "--rows", metavar="FORMATTERS", help="answer for single rows, with Plaso's formatters"
    )
    parser.add_argument("--custom", metavar="FILE", help="more formatters, which come first")
    options = parser.parse_args()
    if not options.rows and not (options.output and options.receipt):
        parser.error("an output and a receipt are needed")

    failure = None
    # Absolute, so that no path begins with a dash and each has a folder.
    store, output, receipt, rows, custom = (
        path and os.path.abspath(path)
        for path in (options.store, options.output, options.receipt, options.rows, options.custom)
    )
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    # Whoever waits for one sentence is not to find it among all that psort prints.
    words = Words()
    with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
        try:
            if rows:
                answer_rows(store, rows, custom, questions, answers, words)
            else:
                export(store, output, receipt, custom, words)
        except Exception as exception:  # pylint: disable=broad-except
            failure = exception

    if failure is not None:
        print(f"export_documents: {_sentence(failure)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
