"""A small client of Timesketch's HTTP API, for tests and the demonstration.

Standard library only, and apart from the agent's own client on purpose: it is what the agent's work
is checked with. It follows no redirect and tries nothing twice, so that a test sees what was answered.
"""

import http.cookiejar
import json
import re
import secrets
import select
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the answer that it is."""

    def redirect_request(self, *_):
        return None


class Refused(Exception):
    """An answer that is not what was asked for."""


class Answer:
    """What the server answered."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        """The body as JSON."""
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:500]!r}"


def connect(file):
    """A client that has logged in, from what the servers wrote about themselves."""
    with open(file, encoding="utf-8") as opened:
        about = json.load(opened)
    with open(about["password_file"], encoding="utf-8") as opened:
        return Client(about["url"], about["user"], opened.read().strip(), about["ca_file"])


class Client:
    """A session of one user."""

    def __init__(self, url, user, password, ca_file=None):
        self.url = url
        trust = ssl.create_default_context(cafile=ca_file)
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), NoRedirect(), urllib.request.HTTPSHandler(context=trust),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.token = self.find_token()
        form = {"username": user, "password": password, "csrf_token": self.token}
        # Over HTTPS the server wants a Referer with every change, the login too.
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Referer": self.url}
        answer = self.request("POST", "/login/?local_auth=1", urllib.parse.urlencode(form).encode(), headers)
        if answer.status != 302:
            raise Refused(f"the login as {user} was answered with {answer.status}")

    def find_token(self):
        """The token that every change has to carry."""
        page = self.request("GET", "/login/?local_auth=1").body.decode()
        found = re.search(r'name="csrf-token" content="([^"]+)"|id="csrf_token"[^>]*value="([^"]+)"', page)
        if not found:
            raise Refused("there is no token in the page for login")
        return found[1] or found[2]

    def request(self, method, path, data=None, headers=None, timeout=120):
        """Sends a request as it is."""
        request = urllib.request.Request(self.url + path, data, headers or {}, method=method)
        try:
            with self.opener.open(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def api(self, method, path, body=None, data=None, content_type="application/json"):
        """Sends a request below /api/v1/, with a body as JSON or with data as they are."""
        headers = {"X-CSRFToken": self.token, "Referer": self.url, "Accept": "application/json"}
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = content_type
        return self.request(method, f"/api/v1/{path}", data, headers)

    def get(self, path):
        """The JSON of a GET that must succeed."""
        answer = self.api("GET", path)
        if answer.status != 200:
            raise Refused(f"GET {path} was answered with {answer!r}")
        return answer.json()

    # Sketches and timelines.

    def sketches(self, name):
        """The ids of all sketches with exactly this name, oldest first."""
        found, page = [], 1
        while page:
            query = urllib.parse.urlencode(
                {"scope": "search", "search_query": name, "per_page": 50, "page": page})
            answer = self.get(f"sketches/?{query}")
            found += [sketch["id"] for sketch in answer["objects"] if sketch["name"] == name]
            page = answer["meta"].get("next_page")
        return sorted(found)

    def make_sketch(self, name):
        """Makes a sketch; returns its id."""
        answer = self.api("POST", "sketches/", {"name": name, "description": ""})
        if answer.status != 201:
            raise Refused(f"making the sketch was answered with {answer!r}")
        return answer.json()["objects"][0]["id"]

    def timelines(self, sketch):
        """The timelines of a sketch, as the server describes them."""
        objects = self.get(f"sketches/{sketch}/timelines/")["objects"]
        return objects[0] if objects else []

    def timeline(self, sketch, timeline):
        """A timeline, and the number of events that the server found for it."""
        answer = self.get(f"sketches/{sketch}/timelines/{timeline}/")
        return answer["objects"][0], answer["meta"]["lines_indexed"]

    # Uploads.

    def send_chunk(self, fields, content, filename):
        """Sends one part of an upload, or an upload without a file when there is no content."""
        boundary = secrets.token_hex(16)
        parts = []
        for name, value in fields.items():
            parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
        if content is not None:
            head = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
            kind = "Content-Type: application/octet-stream"
            parts.append(f"--{boundary}\r\n{head}\r\n{kind}\r\n\r\n".encode() + content + b"\r\n")
        parts.append(f"--{boundary}--\r\n".encode())
        return self.api("POST", "upload/", data=b"".join(parts),
                        content_type=f"multipart/form-data; boundary={boundary}")

    def upload(self, sketch, name, content, label, filename="test.plaso", chunks=2, **more):
        """Uploads a storage file in chunks; returns the last answer."""
        size = -(-len(content) // chunks)
        stem = secrets.token_hex(16)
        for number in range(chunks):
            offset = number * size
            fields = {"name": name, "sketch_id": sketch, "data_label": label, "provider": "test",
                      "total_file_size": len(content), "chunk_index": number, "chunk_byte_offset": offset,
                      "chunk_total_chunks": chunks, "chunk_index_name": stem, **more}
            answer = self.send_chunk(fields, content[offset:offset + size], filename)
            if answer.status != 201:
                break
        return answer

    def await_timeline(self, sketch, timeline, events=None, seconds=120):
        """Waits until a timeline is ready, with so many events, or has failed; returns both."""
        end = time.monotonic() + seconds
        while True:
            found, lines = self.timeline(sketch, timeline)
            states = [found["status"][0]["status"]]
            states += [source["status"][0]["status"] for source in found["datasources"] if source["status"]]
            if "fail" in states or (set(states) == {"ready"} and events in (None, lines)):
                return found, lines
            if time.monotonic() > end:
                raise Refused(f"timeline {timeline} is {states} with {lines} events after {seconds} s")
            select.select([], [], [], 0.5)

    # Searches.

    def search(self, sketch, query, timelines="_all", size=10, **more):
        """Sends a search; returns the answer."""
        body = {"query": query, "filter": {"size": size, "indices": timelines, "chips": [], "order": "asc"}, **more}
        return self.api("POST", f"sketches/{sketch}/explore/", body)

    def count(self, sketch, query="*", timelines="_all"):
        """The number of events that a search finds."""
        answer = self.search(sketch, query, timelines, size=1)
        if answer.status != 200:
            raise Refused(f"a search was answered with {answer!r}")
        return answer.json()["meta"]["es_total_count_complete"]

    def events(self, sketch, timeline, query="*", fields=""):
        """All documents of a timeline that a query finds, in order of time; `fields` names more of them."""
        body = {"enable_scroll": True, **({"fields": fields} if fields else {})}
        answer = self.search(sketch, query, [timeline], size=5000, **body)
        while True:
            if answer.status != 200:
                raise Refused(f"a search was answered with {answer!r}")
            found = answer.json()
            if not found["objects"]:
                return
            yield from (event["_source"] for event in found["objects"])
            scroll = found["meta"].get("scroll_id")
            if not scroll:
                return
            answer = self.search(sketch, query, [timeline], size=5000, scroll_id=scroll, **body)
