"""A headless Chromium that looks at a page as a person does, for pictures.

Speaks WebDriver with Debian's chromedriver. Every wait is the browser's own, for an element. Must show
nothing but pages on loopback, and keeps nothing: its profile is a temporary folder.
"""

import base64
import json
import os
import subprocess
import tempfile
import urllib.error
import urllib.request

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
WIDTH, HEIGHT = 1400, 900

# How long an element is waited for, in seconds, and any answer of the driver.
ELEMENT, ANSWER = 60, 120

TIMEOUTS = {"implicit": ELEMENT * 1000, "script": ELEMENT * 1000}

# By this name WebDriver calls an element.
ELEMENT_KEY = "element-6066-11e4-a52e-4f735466cecf"

SETTLED = """
const done = arguments[0];
let before = -1;
const look = () => {
  const now = performance.getEntriesByType("resource").length;
  if (now === before) { done(); } else { before = now; setTimeout(look, 1000); }
};
document.fonts.ready.then(look);
"""


class BrowserError(Exception):
    """The browser could not be started, or does not show what it should."""


def options(profile):
    """How Chromium is started: without a window, quiet on the network, and with nothing of its user's."""
    words = [
        "--headless=new", f"--window-size={WIDTH},{HEIGHT}", "--force-device-scale-factor=1", "--hide-scrollbars",
        f"--user-data-dir={profile}", "--no-first-run", "--disable-quic", "--disable-sync", "--disable-gpu",
        "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
        # What is not on loopback, such as the font that Timesketch's page asks for, is never there.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--lang=en-US",
    ]
    if os.geteuid() == 0:
        # Its own sandbox does not start as root; it looks at nothing but what was just started here.
        words.append("--no-sandbox")
    return {"binary": CHROMIUM, "args": words}


class Browser:
    """A browser with one page, until the block is left."""

    def __init__(self):
        self.profile = None
        self.driver = None
        self.address = None
        self.session = None

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="dfagent-browser.", ignore_cleanup_errors=True)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        """Starts driver and browser."""
        try:
            self.driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True,
                                           stderr=subprocess.DEVNULL, cwd=self.profile.name)
        except OSError as error:
            raise BrowserError(f"{DRIVER} could not be started: {error.strerror}") from error
        for line in self.driver.stdout:
            if "started successfully on port" in line:
                port = line.rstrip(". \n").rpartition(" ")[2]
                self.address = f"http://127.0.0.1:{port}"
                break
        else:
            raise BrowserError(f"{DRIVER} ended at once")
        wanted = {"goog:chromeOptions": options(self.profile.name), "timeouts": TIMEOUTS}
        self.session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        # The page alone, for a window has a frame, too, even where nobody sees it.
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        self.tell("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})

    def __exit__(self, *_):
        try:
            if self.session:
                self.ask("DELETE", f"/session/{self.session}")
        finally:
            if self.driver:
                self.driver.terminate()
                self.driver.wait()
                self.driver.stdout.close()
            self.profile.cleanup()

    def ask(self, method, path, body=None):
        """Asks the driver; returns the value that it answers with."""
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.address + path, data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=ANSWER) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise BrowserError(json.load(error)["value"]["message"].splitlines()[0]) from error
        except OSError as error:
            raise BrowserError(f"{DRIVER} does not answer: {error}") from error

    def tell(self, method, path, body=None):
        """Asks about the page."""
        return self.ask(method, f"/session/{self.session}{path}", body)

    # What a person does.

    def open(self, url):
        """Goes to an address."""
        self.tell("POST", "/url", {"url": url})

    def find(self, xpath):
        """An element, as soon as it is there."""
        return self.tell("POST", "/element", {"using": "xpath", "value": xpath})[ELEMENT_KEY]

    def count(self, xpath):
        """How many such elements are shown now."""
        self.tell("POST", "/timeouts", {"implicit": 0})
        found = self.tell("POST", "/elements", {"using": "xpath", "value": xpath})
        self.tell("POST", "/timeouts", TIMEOUTS)
        return sum(self.tell("GET", f"/element/{one[ELEMENT_KEY]}/displayed") for one in found)

    def type(self, xpath, text):
        """Types into a field."""
        self.tell("POST", f"/element/{self.find(xpath)}/value", {"text": text})

    def click(self, xpath):
        """Clicks on an element."""
        self.tell("POST", f"/element/{self.find(xpath)}/click")

    def settle(self):
        """Waits until the page has its fonts and has asked for nothing more for a second."""
        self.tell("POST", "/execute/async", {"script": SETTLED, "args": []})

    def picture(self, path):
        """Writes what is shown as PNG."""
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.tell("GET", "/screenshot")))
