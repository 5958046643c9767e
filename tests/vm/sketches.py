"""A small Timesketch for claims about delivery: it takes uploads over HTTPS and shows them as timelines.

It can stop in the middle of an upload (`hold = "within"`), or when it has the file and has not said so (`"answer"`);
what is held is dropped by `drop`. It knows one user, one sketch and no more of Timesketch than delivery asks for.
"""

import http.server
import json
import os
import re
import ssl
import subprocess
import threading
import urllib.parse

TOKEN, SESSION = "token-of-the-page", "session=known"
PAGE = f'<html><head><meta name="csrf-token" content="{TOKEN}"></head></html>'


def make_certificates(folder, address):
    """An authority of its own, ca.pem, and what it signed for an address, server.pem and server.key."""
    base = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    steps = (
        ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=an authority"],
        ["-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=a server", "-CA", "ca.pem", "-CAkey", "ca.key"],
    )
    signed = ["-addext", f"subjectAltName=IP:{address}", "-addext", "basicConstraints=critical,CA:FALSE"]
    for words, more in zip(steps, ([], signed)):
        subprocess.run([*base, *words, *more], cwd=folder, check=True, stderr=subprocess.DEVNULL)


class Server(http.server.ThreadingHTTPServer):
    """The server; it has its port at once and listens when it is told to."""

    daemon_threads = True

    def __init__(self, password, folder):
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.server_bind()
        self.port = self.server_address[1]
        self.password, self.timelines, self.files, self.seen = password, [], {}, []
        self.sketches = []
        self.hold, self.held, self.going = None, threading.Event(), threading.Event()
        self.trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.trust.load_cert_chain(os.path.join(folder, "server.pem"), os.path.join(folder, "server.key"))

    def listen(self):
        """Is there from now on."""
        self.server_activate()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, client_address):
        """Each connection speaks TLS, in its own thread."""
        request.settimeout(120)
        with self.trust.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request, client_address):
        """Clients that are killed are what this is for."""

    def reach(self, moment):
        """Stays here if that is asked for; says whether the connection is to be dropped."""
        if self.hold != moment:
            return False
        self.held.set()
        self.going.wait(600)
        return True

    def drop(self, then=None):
        """Drops what is held; says where to hold next."""
        self.hold, going = then, self.going
        self.going = threading.Event()
        self.held.clear()
        going.set()


def parts(content_type, body):
    """Fields of a form by name, and the file's name and content."""
    boundary = b"--" + content_type.split("boundary=")[1].strip('"').encode()
    fields, file = {}, None
    for part in body.split(boundary)[1:-1]:
        head, _, content = part[2:].partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)[1].decode()
        if found := re.search(rb'filename="([^"]*)"', head):
            file = found[1].decode(), content[:-2]
        else:
            fields[name] = content[:-2].decode()
    return fields, file


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    def log_message(self, *_):
        """Nobody reads it."""

    def say(self, status, body, **headers):
        kind, text = ("text/html", body) if isinstance(body, str) else ("application/json", json.dumps(body))
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(text)), "Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        self.server.seen.append(f"GET {path}")
        if path == "/login/":
            self.say(200, PAGE, Set_Cookie="session=nobody")
        elif SESSION not in self.headers.get("Cookie", ""):
            self.say(302, "", Location="/login/")
        elif path == "/":
            self.say(200, PAGE)
        else:
            self.look(path.removeprefix("/api/v1"))

    def look(self, path):
        """What is asked of the interface."""
        server = self.server
        if path == "/version/":
            self.say(200, {"meta": {"version": "20261014", "plaso_version": "20260720"}, "objects": []})
        elif path == "/sketches/":
            self.say(200, {"objects": server.sketches, "meta": {}})
        elif path == "/tasks/":
            self.say(200, {"objects": [{"state": "SUCCESS"}]})
        elif path.endswith("/timelines/"):
            self.say(200, {"objects": [[shown(one) for one in server.timelines]]})
        elif match := re.fullmatch(r"/sketches/1/timelines/(\d+)/", path):
            one = next(one for one in server.timelines if one["id"] == int(match[1]))
            found = json.loads(one["context"])["documents"]
            self.say(200, {"objects": [shown(one)], "meta": {"lines_indexed": found}})
        else:
            self.say(200, {"objects": server.sketches[:1], "meta": {"collaborators": {"users": []}}})

    def do_POST(self):
        server = self.server
        server.seen.append(f"POST {self.path}")
        length = int(self.headers["Content-Length"])
        upload = self.path.endswith("/upload/")
        body = self.rfile.read(length // 2 if upload else length)
        # The handshake uploads nothing, in some hundred bytes.
        if upload and length > 4096 and server.reach("within"):
            return
        body += self.rfile.read(length - len(body))
        if self.path.startswith("/login/"):
            form = urllib.parse.parse_qs(body.decode())
            if form.get("password") == [server.password]:
                self.say(302, "", Location="/", Set_Cookie=SESSION)
            else:
                self.say(200, PAGE)
        elif SESSION not in self.headers.get("Cookie", "") or self.headers.get("X-CSRFToken") != TOKEN:
            self.say(400, {"message": "The CSRF token is missing."})
        elif upload:
            self.take(*parts(self.headers["Content-Type"], body))
        elif self.path.endswith("/sketches/"):
            server.sketches.append({"id": 1, "name": json.loads(body)["name"], "status": "new"})
            self.say(201, {"objects": server.sketches[-1:]})
        else:
            self.say(200, {"objects": [], "meta": {}})

    def take(self, fields, file):
        """A chunk of a file, or nothing."""
        server = self.server
        if file is None:
            self.say(400, {"message": "no file uploaded" if "sketch_id" in fields else "without supplying a sketch"})
            return
        name, content = file
        got = server.files.setdefault(name, bytearray())
        got[int(fields["chunk_byte_offset"]) :] = content
        if int(fields["chunk_index"]) + 1 < int(fields["chunk_total_chunks"]):
            self.say(201, {"objects": [], "meta": {"upload_complete": False}})
            return
        number = len(server.timelines) + 1
        server.timelines.append({"id": number, "name": fields["name"], "file": name, "context": fields["context"]})
        if not server.reach("answer"):
            self.say(201, {"objects": [shown(server.timelines[-1])], "meta": {"upload_complete": True, "task_id": "task"}})


def shown(timeline):
    """A timeline as the interface shows it."""
    ready = [{"id": 1, "status": "ready"}]
    source = {"id": timeline["id"], "original_filename": timeline["file"], "status": ready, "context": timeline["context"]}
    return {"id": timeline["id"], "name": timeline["name"], "status": ready, "datasources": [source]}
