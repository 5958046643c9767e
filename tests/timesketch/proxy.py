#!/usr/bin/env python3
"""A proxy on loopback between the agent and a real Timesketch that does to requests what it is told.

usage: proxy.py '{"to": [HOST, PORT], "rules": [...], "cert": FILE, "key": FILE, "client_ca": FILE}'

It prints one line of JSON when it listens, `{"port": N, "elsewhere": N}`, one for each request that
reaches it, and one for each that it holds; it serves until its standard input ends. A rule:

    {"path": "/api/v1/upload/", "method": "POST", "chunk": "last"|"middle"|"first",
     "skip": 0, "times": 1, "do": "reset", ...}

All but `do` may be left out; `times` of -1 is for ever. The first rule that fits and is not used up
is applied. What can be done:

    before      break the connection before anything was passed on
    within      break it in the middle of the body
    after       pass the request on and break the connection without waiting
    lost        pass it on, wait for the answer, break the connection instead of giving it
    status      answer `status`, with `headers`, `text`, `kind`; with `forward` only after it was passed on
    limit       answer 413 to a body of more than `bytes`, as nginx does: before it is there
    stall       say nothing more, ever
    slow        answer one byte each second
    huge        answer with `bytes` bytes that are no answer
    token       pass it on with a token that is not right
    session     pass it on with a session that is not known
    elsewhere   send it to another server, whose requests are printed as `elsewhere`
    hold        print that it is there, wait for a line on standard input, and then break the
                connection; with `answered` after the server did it, else before it was passed on
    wait        the same, but go on as if nothing had been

`hold_new` instead of rules holds at each request and each answer of a kind that was not seen before.
It must listen on loopback only, and know no more of Timesketch than where a chunk says what it is.
"""

import contextlib
import json
import re
import socket
import ssl
import struct
import sys
import threading
import time

CHUNK = re.compile(rb'name="chunk_(index|total_chunks)"(?:\r\n[^\r\n]+)*\r\n\r\n(\d+)')

# A client that sends or takes nothing for this long is gone, in seconds.
GONE = 120


class Over(Exception):
    """There is nothing more to do on a connection."""


class Request:
    """A request, first its head alone."""

    def __init__(self, link, head):
        self.link, self.head = link, head
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target = lines[0].split(" ")[:2]
        self.headers = {name.lower(): value.strip() for name, _, value in
                        (line.partition(":") for line in lines[1:] if line)}
        self.length = int(self.headers.get("content-length", 0))
        self.body = b""
        self.index = self.total = None

    def read(self, most=None):
        """Reads the body, or as much of it."""
        wanted = self.length if most is None else most
        while len(self.body) < wanted:
            part = self.link.recv(min(65536, wanted - len(self.body)))
            if not part:
                raise Over
            self.body += part
            if self.index is None:
                found = dict(CHUNK.findall(self.body[:8192]))
                if len(found) == 2:
                    self.index, self.total = int(found[b"index"]), int(found[b"total_chunks"])

    @property
    def chunk(self):
        """Which chunk of an upload it is; None for any other request."""
        if self.index is None:
            return None
        if self.index + 1 == self.total:
            return "last"
        return "first" if self.index == 0 else "middle"

    def needs_look(self):
        """Whether only its body tells which chunk it is."""
        return self.headers.get("content-type", "").startswith("multipart/")

    def kind(self):
        """What it is, without numbers: two requests of one kind are the same step."""
        target = re.sub(r"\d+", "N", self.target.partition("?")[0])
        return f"{self.method} {target} {'' if self.index is None else self.index}".strip()


class Proxy:
    """The proxy, its rules and what it tells."""

    def __init__(self, told):
        self.told = told
        self.rules = told.get("rules", [])
        self.lock = threading.Lock()
        self.seen = set()
        self.going = threading.Semaphore(0)
        self.trust = None
        if "cert" in told:
            self.trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.trust.load_cert_chain(told["cert"], told["key"])
            if "client_ca" in told:
                self.trust.verify_mode = ssl.CERT_REQUIRED
                self.trust.load_verify_locations(told["client_ca"])

    def say(self, **words):
        """Prints a line."""
        with self.lock:
            print(json.dumps(words), flush=True)

    def listen(self, serve):
        """Listens on a port and serves what comes, each in a thread of its own."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=100)

        def loop():
            while True:
                link, _ = listener.accept()
                threading.Thread(target=self.guarded, args=(serve, link), daemon=True).start()

        threading.Thread(target=loop, daemon=True).start()
        return listener.getsockname()[1]

    @staticmethod
    def guarded(serve, link):
        """Serves a connection, which may break at any time."""
        link.settimeout(GONE)
        with contextlib.suppress(OSError, Over, ValueError):
            serve(link)
        with contextlib.suppress(OSError):
            link.close()

    def secured(self, link):
        """The connection, inside TLS where that is asked for."""
        if self.trust is None:
            return link
        try:
            return self.trust.wrap_socket(link, server_side=True)
        except (OSError, ssl.SSLError):
            self.say(refused=True)
            raise

    def serve(self, link):
        """Serves the requests of a connection."""
        link = self.secured(link)
        while True:
            head = read_head(link)
            request = Request(link, head)
            if request.headers.get("expect", "").lower() == "100-continue":
                link.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if request.needs_look():
                # The numbers come before the file.
                request.read(min(request.length, 4096))
            self.answer(request)

    def elsewhere(self, link):
        """Another server, which only says what reaches it."""
        request = Request(link, read_head(link))
        self.say(elsewhere=request.head.decode("latin-1"))
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def rule(self, request):
        """The rule for a request, if there is one."""
        with self.lock:
            for rule in self.rules:
                fits = (request.target.startswith(rule.get("path", "/"))
                        and rule.get("method", request.method) == request.method
                        and rule.get("chunk", request.chunk) == request.chunk
                        and (rule["do"] != "limit" or request.length > rule["bytes"]))
                if not fits:
                    continue
                if rule.get("skip", 0) > 0:
                    rule["skip"] -= 1
                elif rule.get("times", 1) != 0:
                    rule["times"] = rule.get("times", 1) - 1
                    return rule
        return {"do": "pass"}

    def answer(self, request):
        """Does what the rule for a request says."""
        rule = self.rule(request)
        self.say(seen=f"{request.method} {request.target}", chunk=request.index, of=request.total,
                 length=request.length, do=rule["do"])
        getattr(self, f"do_{rule['do']}")(request, rule)

    # What can be done.

    def do_pass(self, request, _rule):
        """Passes request and answer on."""
        self.hold_new(request, "request")
        answer = self.forward(request)
        self.hold_new(request, "answer")
        request.link.sendall(answer)

    def do_before(self, request, _rule):
        """Breaks the connection before anything was passed on."""
        reset(request.link)

    def do_within(self, request, _rule):
        """Breaks it in the middle of the body."""
        request.read(max(len(request.body), request.length // 2))
        reset(request.link)

    def do_after(self, request, _rule):
        """Passes it on and does not wait."""
        request.read()
        threading.Thread(target=self.forward, args=(request,), daemon=True).start()
        reset(request.link)

    def do_lost(self, request, _rule):
        """Keeps the answer."""
        self.forward(request)
        reset(request.link)

    def do_status(self, request, rule):
        """Answers by itself."""
        request.read()
        if rule.get("forward"):
            self.forward(request)
        text = rule.get("text", "").encode()
        head = f"HTTP/1.1 {rule['status']} Told\r\nContent-Length: {len(text)}\r\n"
        head += f"Content-Type: {rule.get('kind', 'text/html')}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in rule.get("headers", {}).items())
        request.link.sendall(head.encode() + b"\r\n" + text)

    def do_limit(self, request, _rule):
        """Refuses a body for its size, and lets what is under way run dry."""
        text = b"<html><head><title>413 Request Entity Too Large</title></head></html>"
        request.link.sendall(b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: text/html\r\n"
                             b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        if isinstance(request.link, socket.socket) and not isinstance(request.link, ssl.SSLSocket):
            request.link.shutdown(socket.SHUT_WR)
        while request.link.recv(65536):
            pass
        raise Over

    def do_stall(self, request, _rule):
        """Says nothing more."""
        if request.link.recv(1):
            # It goes on sending, and nobody takes it: its buffers fill.
            time.sleep(GONE)
        raise Over

    def do_slow(self, request, _rule):
        """Drips."""
        for byte in self.forward(request):
            request.link.sendall(bytes([byte]))
            time.sleep(1)

    def do_huge(self, request, rule):
        """Floods."""
        request.read()
        left = rule["bytes"]
        request.link.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {left}\r\n\r\n"
                             .encode())
        while left > 0:
            request.link.sendall(b" " * min(left, 1 << 20))
            left -= 1 << 20

    def do_token(self, request, _rule):
        """Spoils the token."""
        request.head = re.sub(rb"(?i)(x-csrftoken: )[^\r]*", rb"\1spoilt", request.head)
        request.link.sendall(self.forward(request))

    def do_session(self, request, _rule):
        """Spoils the session."""
        request.head = re.sub(rb"(?i)(cookie: )[^\r]*", rb"\1session=spoilt", request.head)
        request.link.sendall(self.forward(request))

    def do_elsewhere(self, request, _rule):
        """Sends it away."""
        request.read()
        place = f"http://127.0.0.1:{self.other}{request.target}"
        request.link.sendall(f"HTTP/1.1 307 Gone\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())

    def do_hold(self, request, rule):
        """Holds it until it is told, and breaks the connection then."""
        if rule.get("answered"):
            self.forward(request)
        self.hold(request.kind())
        raise Over

    def do_wait(self, request, rule):
        """Holds it until it is told, and goes on then."""
        answer = self.forward(request) if rule.get("answered") else None
        self.hold(request.kind())
        request.link.sendall(answer or self.forward(request))

    def hold(self, kind):
        """Says that something is held, and waits until it may go on."""
        self.say(held=kind)
        self.going.acquire()

    def hold_new(self, request, moment):
        """Holds what was not seen before."""
        if not self.told.get("hold_new"):
            return
        key = f"{moment} {request.kind()}"
        if key not in self.seen:
            self.seen.add(key)
            self.hold(key)
            raise Over

    def forward(self, request):
        """Passes a request on over a connection of its own; the whole answer, of which we know the length."""
        request.read()
        lines = [line for line in request.head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"expect:"))]
        with socket.create_connection(tuple(self.told["to"]), GONE) as link:
            if self.told.get("to_ca"):
                link = ssl.create_default_context(cafile=self.told["to_ca"]).wrap_socket(link, server_hostname="127.0.0.1")
            link.sendall(b"\r\n".join([lines[0], b"Connection: close", *lines[1:]]) + b"\r\n" + request.body)
            parts = []
            while part := link.recv(65536):
                parts.append(part)
        head, _, body = b"".join(parts).partition(b"\r\n\r\n")
        kept = [line for line in head.split(b"\r\n")
                if not line.lower().startswith((b"connection:", b"content-length:", b"transfer-encoding:"))]
        if b"transfer-encoding: chunked" in head.lower():
            body = unchunked(body)
        return b"\r\n".join([*kept, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body

    def run(self):
        """Serves until standard input ends; a line there lets one go on that is held."""
        self.other = self.listen(self.elsewhere)
        port = self.listen(self.serve)
        self.say(port=port, elsewhere=self.other)
        for _ in sys.stdin:
            self.going.release()


def read_head(link):
    """Reads the head of a request, a byte at a time so that nothing of the body is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = link.recv(1)
        if not byte:
            raise Over
        head += byte
    return head[:-2]


def unchunked(body):
    """The content of a body that came in pieces."""
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        content, body = content + body[:length], body[length + 2:]
        if not length:
            break
    return content


def reset(link):
    """Breaks a connection so that the other side sees a reset."""
    raw = link
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()
    raise Over


if __name__ == "__main__":
    Proxy(json.loads(sys.argv[1])).run()
