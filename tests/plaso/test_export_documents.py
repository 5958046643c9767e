#!/usr/bin/env python3
"""Tests of the program that exports psort's documents to a file.

Run with the Python that has Plaso: DIR/bin/python tests/plaso/test_export_documents.py
"""

import decimal
import http.server
import importlib.util
import io
import json
import os
import pathlib
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
import zlib

import opensearchpy.exceptions
import opensearchpy.serializer

PROGRAM = (
    pathlib.Path(__file__).resolve().parents[2]
    / "packaging/usr/lib/dfagent/export_documents.py"
)

# Less than the 15 seconds that Plaso waits after a warning, were it not told otherwise.
PATIENCE = 14

DEFAULT_FIELDS = [
    "datetime",
    "display_name",
    "message",
    "source_long",
    "source_short",
    "tag",
    "timestamp",
    "timestamp_desc",
]


def load_program():
    """Loads the program as a module.

    Returns:
        module: the module.
    """
    specification = importlib.util.spec_from_file_location("export_documents", PROGRAM)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def plaso(script, *arguments, cwd):
    """Runs one of Plaso's scripts, which must succeed.

    Args:
        script (str): name of the script.
        arguments (list[str]): arguments.
        cwd (Path): folder to run in, where Plaso leaves its logs.
    """
    command = [sys.executable, "-m", f"plaso.scripts.{script}", "--quiet", "--unattended"]
    command += ["--status_view", "none", *map(os.fspath, arguments)]
    subprocess.run(
        command, cwd=cwd, check=True, stdin=subprocess.DEVNULL, capture_output=True
    )


def extract(source, store):
    """Makes a storage file of a folder.

    Args:
        source (Path): the folder.
        store (Path): the storage file.
    """
    parsers = "filestat,text,utmp"
    plaso(
        "log2timeline",
        *("--single_process", "--parsers", parsers, "--storage_file", store, source),
        cwd=store.parent,
    )


def make_surrogate(store):
    """Puts text that is not Unicode into a storage file.

    Plaso's extraction passes over most of what would lead to it, so it is made.

    Args:
        store (Path): the storage file.
    """
    connection = sqlite3.connect(store)
    for identifier, data in connection.execute("SELECT _identifier, _data FROM event_data"):
        content = json.loads(zlib.decompress(data))
        if content["data_type"] == "bash:history:entry":
            content["command"] = "cut \ud83d, \udcff and 😀"
            data = zlib.compress(json.dumps(content).encode("utf-8"))
            query = "UPDATE event_data SET _data = ? WHERE _identifier = ?"
            connection.execute(query, (data, identifier))
            break
    connection.commit()
    connection.close()


def make_evidence(folder):
    """Makes a small tree of files that yield events of several kinds.

    Args:
        folder (Path): the folder to fill.
    """
    for name in ("var/log", "root", "odd"):
        (folder / name).mkdir(parents=True)

    lines = []
    for index in range(1500):
        time = f"{index // 60 % 24:02d}:{index % 60:02d}:00"
        lines.append(f"Nov  3 {time} host sshd[{index}]: Accepted password for “ü{index}”\n")
    # Twice the same line at the same time is a duplicate to psort.
    lines += [lines[-1]] * 2
    (folder / "var/log/syslog").write_text("".join(lines), encoding="utf-8")

    (folder / "root/.bash_history").write_text(
        "#1793600000\necho 'tab\there' \"quote\" \\\\ \x7f\n#1793600060\nls – ünï 🎉\n",
        encoding="utf-8",
    )

    record = struct.Struct("<hxxi32s4s32s256shhiii16s20x")
    logins = b""
    for index in range(3):
        fields = (7, 100 + index, b"pts/0", b"ts/0", b"us\xe9r", b"10.0.0.1", 0, 0, 0)
        logins += record.pack(*fields, 1793600000 + index, 42, bytes(16))
    (folder / "var/log/wtmp").write_bytes(logins)

    names = (b'qu"ote', b"back\\slash", b"new\nline", b"smile-\xf0\x9f\x98\x80", b"bad-\xff\xfe")
    for name in names:
        with open(os.fsencode(folder / "odd") + b"/" + name, "wb") as file_object:
            file_object.write(name)


class ServerStub(http.server.BaseHTTPRequestHandler):
    """Answers psort as an OpenSearch server that has the index and takes everything."""

    protocol_version = "HTTP/1.1"

    def _answer(self, content):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_HEAD(self):
        """Says that the index is there."""
        self._answer(b"")

    def do_POST(self):
        """Takes a bulk request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        self._answer(b'{"took":1,"errors":false,"items":[]}')

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Stays silent."""


def send_to_stub(store):
    """Has an untouched psort send its documents to a server.

    Args:
        store (Path): the storage file.

    Returns:
        list[bytes]: the documents as they arrived.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ServerStub)
    server.bodies = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        mappings = store.parent / "mappings.json"
        mappings.write_text("{}", encoding="utf-8")
        plaso(
            "psort",
            *("-o", "opensearch_ts", "--server", "127.0.0.1"),
            *("--port", str(server.server_port), "--opensearch_mappings", mappings),
            *("--timeline_identifier", "1", store),
            cwd=store.parent,
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    lines = b"".join(server.bodies).split(b"\n")
    assert lines.pop() == b""
    return lines[1::2]


class DocumentFileTest(unittest.TestCase):
    """Tests how single documents are written."""

    def setUp(self):
        """Makes a document file in memory."""
        self.program = load_program()
        self.content = io.BytesIO()
        self.serializer = opensearchpy.serializer.JSONSerializer()
        self.file = self.program.DocumentFile(self.content, self.serializer.default)

    def test_is_what_opensearch_py_makes_of_it(self):
        """Without the exceptions, the text is that of opensearch-py."""
        document = {
            "b": "ü\u2028\x00\"\\ 🎉",
            "a": [1, 2.5, None, True, {"x": decimal.Decimal("1.5")}],
            "big": 1 << 70,
            "tuple": (1, "2"),
            "timestamp": 5,
        }
        expected = self.serializer.dumps(document).encode("utf-8") + b"\n"
        self.file.write({**document, "__ts_timeline_id": 1})
        self.assertEqual(self.content.getvalue(), expected)
        self.assertEqual((self.file.escaped_surrogates, self.file.replaced_numbers), (0, 0))

    def test_numbers_that_json_does_not_have(self):
        """They become strings, wherever they are, and are counted."""
        infinity = float("inf")
        document = {"a": float("nan"), "b": [infinity, {"c": (-infinity, 1.5)}]}
        self.file.write({**document, "d": decimal.Decimal("NaN"), "e": "NaN"})
        self.assertEqual(
            self.content.getvalue(),
            b'{"a":"NaN","b":["Infinity",{"c":["-Infinity",1.5]}],"d":"NaN","e":"NaN"}\n',
        )
        self.assertEqual(self.file.replaced_numbers, 4)

    def test_lone_surrogates(self):
        """They become escapes; a document with several counts once."""
        document = {"a\udcff": "x\ud800y\udcfe 🎉", "b": "\udc80"}
        self.file.write(dict(document))
        line = self.content.getvalue()
        self.assertEqual(
            line.decode("utf-8"), '{"a\\udcff":"x\\ud800y\\udcfe 🎉","b":"\\udc80"}\n'
        )
        self.assertEqual(json.loads(line), document)
        self.assertEqual((self.file.documents, self.file.escaped_surrogates), (1, 1))

    def test_what_cannot_be_serialized_is_an_error_that_psort_does_not_swallow(self):
        """psort goes on after ValueError and OpenSearchException."""
        swallowed = (ValueError, opensearchpy.exceptions.OpenSearchException)
        circular = []
        circular.append(circular)
        for value in (b"bytes", {1, 2}, object(), circular):
            with self.assertRaises(self.program.ExportError) as caught:
                self.file.write({"data_type": "a:b", "a": [value]})
            self.assertNotIsInstance(caught.exception, swallowed)
            self.assertIn("a:b", str(caught.exception))
        self.assertEqual((self.file.documents, self.content.getvalue()), (0, b""))

    def test_unexpected_request(self):
        """Anything but index actions with a document each is refused."""
        client = self.program.DocumentClient(self.file)
        client.bulk(body=[])
        for body in ([{"index": {}}], [{"delete": {}}, {"a": 1}]):
            with self.assertRaises(self.program.ExportError):
                client.bulk(body=body, index="i", request_timeout=1)


class ExportTest(unittest.TestCase):
    """Tests the program on storage files."""

    @classmethod
    def setUpClass(cls):
        """Makes a storage file that the tests share."""
        cls._temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls._temporary.cleanup)
        cls.shared = pathlib.Path(cls._temporary.name)
        make_evidence(cls.shared / "evidence")
        cls.store = cls.shared / "store.plaso"
        extract(cls.shared / "evidence", cls.store)
        make_surrogate(cls.store)
        cls.output = cls.shared / "documents.jsonl"
        cls.receipt = cls.shared / "receipt.json"
        result = cls.run_program(cls.store, cls.output, cls.receipt)
        assert result.returncode == 0, result.stderr
        cls.lines = cls.output.read_bytes().splitlines(keepends=True)
        cls.documents = [json.loads(line) for line in cls.lines]

    def setUp(self):
        """Makes a folder for the test."""
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    @staticmethod
    def run_program(store, output, receipt, **environment):
        """Runs the program.

        Args:
            store (Path): the storage file.
            output (Path): the file of documents.
            receipt (Path): the receipt.
            environment (dict[str, str]): additional environment variables.

        Returns:
            subprocess.CompletedProcess: how it ended.
        """
        command = [sys.executable, PROGRAM, store, output, "--receipt", receipt]
        return subprocess.run(
            list(map(os.fspath, command)),
            cwd=output.parent,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE,
        )

    def changed_store(self, *statements):
        """Makes a copy of the storage file with changes.

        Args:
            statements (list[str]): SQL statements.

        Returns:
            Path: the copy.
        """
        store = self.folder / "changed.plaso"
        store.write_bytes(self.store.read_bytes())
        connection = sqlite3.connect(store)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()
        return store

    def assert_fails(self, store, about):
        """Checks that the program fails as it should.

        Args:
            store (Path): the storage file.
            about (str): what the sentence must contain.
        """
        receipt = self.folder / "receipt.json"
        result = self.run_program(store, self.folder / "documents.jsonl", receipt)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"\Aexport_documents: [^\n]+\n\Z")
        self.assertIn(about, result.stderr)
        self.assertFalse(receipt.exists())

    def test_has_evidence_of_every_kind(self):
        """The storage file holds what the other tests rely on."""
        types = {document["data_type"] for document in self.documents}
        expected = {"bash:history:entry", "fs:stat", "linux:utmp:event", "syslog:line"}
        self.assertLessEqual(expected, types)

    def test_receipt(self):
        """The receipt tells what was written."""
        receipt = json.loads(self.receipt.read_text(encoding="utf-8"))
        with sqlite3.connect(self.store) as connection:
            events = connection.execute("SELECT COUNT(*) FROM event").fetchone()[0]
        self.assertEqual(
            receipt,
            {
                "schema": 1,
                "documents": len(self.documents),
                "duplicates": events - len(self.documents),
                "events": events,
                "escaped_surrogates": 1,
                "replaced_numbers": 0,
                "plaso": receipt["plaso"],
                "first": min(document["datetime"] for document in self.documents),
                "last": max(document["datetime"] for document in self.documents),
            },
        )
        self.assertRegex(receipt["plaso"], r"^20\d{6}$")
        self.assertGreater(receipt["duplicates"], 0)
        line = next(line for line in self.lines if b'"cut ' in line)
        self.assertIn('"cut \\ud83d, \\udcff and 😀"', line.decode("utf-8"))

    def test_lines_are_strict_json(self):
        """Every line is UTF-8, and JSON without numbers that it does not have."""
        for line in self.lines:
            self.assertTrue(line.endswith(b"}\n"))
            json.loads(line.decode("utf-8"), parse_constant=self.fail)

    def test_names_that_are_odd(self):
        """Names arrive as Plaso has them; it passes over those that are not UTF-8."""
        names = {document.get("filename", "").rpartition("/")[2] for document in self.documents}
        expected = {'qu"ote', "back\\slash", "new\\x0aline", "smile-😀"}
        self.assertLessEqual(expected, names)

    def test_order_and_fields(self):
        """Documents are ordered by time, with the fields that psort always gives."""
        times = [document["timestamp"] for document in self.documents]
        self.assertEqual(times, sorted(times))
        for document in self.documents:
            self.assertNotIn("__ts_timeline_id", document)
            self.assertLessEqual(set(DEFAULT_FIELDS), set(document))
            # After the event's own fields come those of the defaults that it does not have.
            self.assertEqual(list(document)[-3:], ["tag", "timestamp", "timestamp_desc"])

    def test_as_many_as_json_line(self):
        """Another of psort's output modules gives as many."""
        output = self.folder / "lines.jsonl"
        plaso("psort", "-o", "json_line", "-w", output, self.store, cwd=self.folder)
        self.assertEqual(len(output.read_bytes().splitlines()), len(self.documents))

    def test_is_what_a_server_receives(self):
        """An untouched psort sends the same bytes, apart from the known exceptions."""
        received = send_to_stub(self.store)
        self.assertEqual(len(received), len(self.lines))
        end = b',"__ts_timeline_id":1}'
        for sent, line in zip(received, self.lines):
            self.assertTrue(sent.endswith(end))
            sent = sent[: -len(end)] + b"}\n"
            try:
                sent.decode("utf-8")
            except UnicodeDecodeError:
                text = sent.decode("utf-8", "surrogatepass")
                self.assertEqual(list(json.loads(text).items()), list(json.loads(line).items()))
            else:
                self.assertEqual(sent, line)

    def test_is_the_same_again_where_the_locale_is_ascii(self):
        """Plaso warns of such a locale; nothing waits, and nothing changes."""
        ascii_locale = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        output = self.folder / "documents.jsonl"
        receipt = self.folder / "receipt.json"
        result = self.run_program(self.store, output, receipt, **ascii_locale)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(output.read_bytes(), self.output.read_bytes())
        self.assertEqual(receipt.read_bytes(), self.receipt.read_bytes())
        self.assertEqual(set(os.listdir(self.folder)) - {"documents.jsonl.log.gz"},
                         {"documents.jsonl", "receipt.json"})

    def test_no_events(self):
        """A storage file without events gives no documents."""
        evidence = self.folder / "evidence"
        evidence.mkdir()
        (evidence / "noise").write_bytes(bytes(range(256)))
        store = self.folder / "empty.plaso"
        plaso(
            "log2timeline",
            *("--single_process", "--parsers", "utmp", "--storage_file", store, evidence),
            cwd=self.folder,
        )
        output = self.folder / "documents.jsonl"
        receipt = self.folder / "receipt.json"
        result = self.run_program(store, output, receipt)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(output.read_bytes(), b"")
        content = json.loads(receipt.read_text(encoding="utf-8"))
        self.assertEqual((content["documents"], content["events"]), (0, 0))
        self.assertEqual((content["first"], content["last"]), (None, None))

    def test_not_a_store(self):
        """What is not a storage file is refused."""
        self.assert_fails(self.folder / "nothing.plaso", "no such file")
        self.assertFalse((self.folder / "nothing.plaso").exists())
        store = self.folder / "some.plaso"
        store.write_bytes(b"not a database")
        self.assert_fails(store, "not a Plaso storage file")
        store.unlink()
        sqlite3.connect(store).execute("CREATE TABLE metadata (key, value)").connection.close()
        self.assert_fails(store, "not a Plaso storage file")

    def test_truncated_store(self):
        """Wherever a storage file ends too early, it is refused."""
        content = self.store.read_bytes()
        store = self.folder / "truncated.plaso"
        for size in (100, 4096, len(content) // 2, len(content) - 4096, len(content) - 1):
            with self.subTest(size=size):
                store.write_bytes(content[:size])
                self.assert_fails(store, "truncated.plaso")

    def test_damaged_event(self):
        """An event that cannot be read is not left out in silence."""
        store = self.changed_store("UPDATE event_data SET _data = x'00' WHERE _identifier = 17")
        self.assert_fails(store, "decompressing")

    def test_event_without_its_data(self):
        """An event whose data is missing is not left out in silence."""
        store = self.changed_store("DELETE FROM event_data WHERE _identifier = 17")
        self.assert_fails(store, "run psort")

    def test_year_that_plaso_cannot_write(self):
        """psort ends at a year before 0; that must show."""
        time = -(1 << 62)
        store = self.changed_store(f"UPDATE event SET timestamp = {time} WHERE _identifier = 17")
        self.assert_fails(store, "out of bounds")

    def test_existing_output(self):
        """An output that is there is not overwritten, nor what a link points to."""
        output = self.folder / "documents.jsonl"
        output.write_bytes(b"mine\n")
        self.assert_fails(self.store, "exists")
        self.assertEqual(output.read_bytes(), b"mine\n")

        output.rename(self.folder / "target")
        output.symlink_to("target")
        self.assert_fails(self.store, "exists")
        self.assertEqual((self.folder / "target").read_bytes(), b"mine\n")

    def ask(self, store, questions):
        """Asks the program for single documents.

        Args:
            store (Path): the storage file.
            questions (str): what it is asked.

        Returns:
            subprocess.CompletedProcess: how it ended.
        """
        import plaso

        formatters = pathlib.Path(plaso.__file__).parent / "data/formatters"
        command = [sys.executable, PROGRAM, store, "--rows", formatters]
        return subprocess.run(
            list(map(os.fspath, command)),
            cwd=self.folder,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            input=questions.encode("utf-8"),
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )

    def test_single_rows(self):
        """Asked for each row, in any order, it gives the documents of an export."""
        with sqlite3.connect(self.store) as connection:
            query = "SELECT _identifier FROM event ORDER BY random()"
            rows = [row for (row,) in connection.execute(query)]
        result = self.ask(self.store, "".join(f"{row}\n" for row in rows))
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        answers = [line.split(b" ", 2) for line in result.stdout.splitlines()]
        self.assertEqual(len(answers), len(rows))

        def key(line):
            document = json.loads(line)
            document["path_spec"] = json.loads(document.get("path_spec", "null"))
            return json.dumps(document, sort_keys=True)

        self.assertEqual({key(answer[2]) for answer in answers}, set(map(key, self.lines)))
        escaped = sum(int(answer[0]) for answer in answers)
        self.assertEqual((escaped, sum(int(answer[1]) for answer in answers)), (1, 0))

    def test_a_row_that_is_not_there(self):
        """It ends with a sentence."""
        result = self.ask(self.store, "1\n1000000\n")
        self.assertEqual((result.returncode, result.stdout.count(b"\n")), (1, 1))
        self.assertEqual(result.stderr, b"export_documents: find event 1000000\n")

    def test_full_disk(self):
        """An output that cannot be written to is noticed."""
        program = load_program()
        with open("/dev/full", "wb", 0) as file_object:
            document_file = program.DocumentFile(file_object, None)
            with self.assertRaisesRegex(program.ExportError, "No space left"):
                document_file.write({"a": "b"})


if __name__ == "__main__":
    unittest.main()
