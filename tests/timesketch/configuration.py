"""What the real servers are told: their settings, files, accounts, certificates and commands.

All of it stands in one state folder. Starts and stops nothing; servers.py does.
"""

import contextlib
import json
import os
import random
import secrets
import shutil
import socket
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
INSTALLED = os.path.join(os.path.dirname(os.path.dirname(HERE)), "target", "timesketch")
NAMES = ("redis", "opensearch", "web", "worker")

# Below the ports that the kernel gives to outgoing connections: what is free here stays free
# between two starts of a server.
PORTS = range(20000, 32000)

DEFAULTS = {
    "opensearch": "2.19.5",
    "worker_count": 1,
    "heap": "1g",
    "tls": False,
    "user": "dfagent",
    "set": {},
    "opensearch_set": {},
}


class ServerError(Exception):
    """A server could not be started or did not get ready."""


def write(path, text, mode=0o644):
    """Writes a file as a whole, by rename."""
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(new, path)


def read(path, default=""):
    """Reads a file that may not be there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return default


def free_port(taken):
    """A port that nobody listens on and that is not taken."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in taken:
                return port


class Configuration:
    """What stands in a state folder."""

    def __init__(self, state):
        self.state = os.path.abspath(state)
        self.settings = json.loads(read(self.path("settings.json"), "{}"))

    def path(self, *parts):
        """A path in the state folder."""
        return os.path.join(self.state, *parts)

    # What is written before a start.

    def prepare(self, fresh=False, **options):
        """Makes the state folder, or takes what is there, and remembers the options given."""
        if fresh and os.path.exists(self.state):
            if os.listdir(self.state) and not os.path.exists(self.path("settings.json")):
                raise ServerError(f"{self.state} is not a folder of these servers: it is left as it is")
            shutil.rmtree(self.state)
            self.settings = {}
        for folder in ("accounts", "logs", "upload", "psort-logs", "redis", "home", "opensearch/config"):
            os.makedirs(self.path(folder), mode=0o700, exist_ok=True)
        self.change(**options)
        if not os.path.exists(self.path("timesketch.db")):
            shutil.copyfile(os.path.join(INSTALLED, "python", "empty.db"), self.path("timesketch.db"))
        self.add_password(self.settings["user"])
        if self.settings["tls"] and not os.path.exists(self.path("tls", "key.pem")):
            self.make_certificates()

    def change(self, **options):
        """Changes settings and writes the servers' own configurations anew."""
        settings = {**DEFAULTS, "secret": secrets.token_urlsafe(32), "ports": {}, **self.settings}
        for name, value in options.items():
            if value is None:
                continue
            settings[name] = {**settings[name], **value} if isinstance(value, dict) else value
        for name in ("redis", "opensearch", "web"):
            if name not in settings["ports"]:
                settings["ports"][name] = free_port(settings["ports"].values())
        self.settings = settings
        write(self.path("settings.json"), json.dumps(settings, indent=1), 0o600)
        lines = {
            "discovery.type": "single-node",
            "network.host": "127.0.0.1",
            "http.port": settings["ports"]["opensearch"],
            "transport.port": 0,
            # A full disk must not turn the indexes of a test read-only.
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            **settings["opensearch_set"],
        }
        text = "".join(f"{key}: {value}\n" for key, value in lines.items())
        write(self.path("opensearch", "config", "opensearch.yml"), text)
        shutil.copy(os.path.join(HERE, "opensearch", "log4j2.properties"), self.path("opensearch", "config"))
        write(self.path("timesketch.conf"), self.configuration(), 0o600)

    @property
    def url(self):
        """Where the web server is."""
        return f"{'https' if self.settings['tls'] else 'http'}://127.0.0.1:{self.settings['ports']['web']}"

    def configuration(self):
        """Timesketch's configuration. It is Python, so that what is assigned last counts."""
        share = os.path.join(INSTALLED, "python", "share", "timesketch", "")
        broker = f"redis://127.0.0.1:{self.settings['ports']['redis']}"
        values = {
            "SECRET_KEY": self.settings["secret"],
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{self.path('timesketch.db')}",
            "SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": {"timeout": 60}},
            "OPENSEARCH_HOSTS": [{"host": "127.0.0.1", "port": self.settings["ports"]["opensearch"]}],
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": broker,
            "UPLOAD_ENABLED": True,
            "UPLOAD_FOLDER": self.path("upload"),
            "PSORT_PATH": os.path.join(INSTALLED, "python", "bin", "psort"),
            "PLASO_LOG_FOLDER": self.path("psort-logs"),
            "DATA_FINDER_PATH": share + "data_finder.yaml",
            "PLASO_MAPPING_FILE": share + "plaso.mappings",
            "GENERIC_MAPPING_FILE": share + "generic.mappings",
            "PLASO_FORMATTERS": share + "plaso_formatters.yaml",
            "SIGMA_CONFIG": share + "sigma_config.yaml",
            "INTELLIGENCE_TAG_METADATA": share + "intelligence_tag_metadata.yaml",
            "CONTEXT_LINKS_CONFIG_PATH": share + "context_links.yaml",
            "EXTERNAL_HOST_URL": self.url,
            **self.settings["set"],
        }
        shipped = read(share + "timesketch.conf")
        return shipped + "\n" + "".join(f"{name} = {value!r}\n" for name, value in values.items())

    def add_password(self, name):
        """Makes a password for an account that has none; returns the file it is in."""
        file = self.path("accounts", name)
        if not os.path.exists(file):
            write(file, secrets.token_urlsafe(18) + "\n", 0o600)
        return file

    def make_certificates(self):
        """Makes an authority and a certificate for loopback."""
        folder = self.path("tls")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
        for more in (
            ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority",
             "-addext", "keyUsage=critical,keyCertSign"],
            ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost", "-CA", "ca.pem", "-CAkey", "ca.key",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"],
        ):
            done = subprocess.run(new + more, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ServerError(f"openssl made no certificate: {done.stderr.strip()}")

    # The commands.

    def command(self, name):
        """The command of a server."""
        return getattr(self, f"command_{name}")()

    @staticmethod
    def executable(name):
        """The file of a server's program, where it is not the first word of its command."""
        # It is Redis itself, which goes by the name it is called with. Debian puts it among the tools,
        # which, other than the package redis-server, start no service.
        return "/usr/bin/redis-check-rdb" if name == "redis" else None

    def command_redis(self):
        """Redis, which keeps nothing on disk."""
        port = str(self.settings["ports"]["redis"])
        return ["redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no",
                "--dir", self.path("redis")]

    def command_opensearch(self):
        """OpenSearch, with the archive of classes that the installation made."""
        place = os.path.join(INSTALLED, f"opensearch-{self.settings['opensearch']}")
        java = read(os.path.join(place, "java")).strip()
        if not java:
            raise ServerError(f"OpenSearch {self.settings['opensearch']} is not in {place}: run "
                              f"OPENSEARCH_VERSION={self.settings['opensearch']} tests/timesketch/install target/timesketch")
        heap = self.settings["heap"]
        return [os.path.join(java, "bin", "java"), f"-Xms{heap}", f"-Xmx{heap}", "-XX:+UseG1GC",
                f"-XX:SharedArchiveFile={place}/classes.jsa", "-Xlog:disable", "-Xlog:all=error:stderr",
                "--enable-native-access=ALL-UNNAMED", "--add-modules=jdk.incubator.vector",
                f"-Djava.io.tmpdir={self.path('opensearch')}", "-cp", f"{place}/lib/*", "SingleNode",
                self.path("opensearch")]

    def command_web(self):
        """The web server, with as many threads as Timesketch's own."""
        tls = ["--certfile", self.path("tls", "cert.pem"), "--keyfile", self.path("tls", "key.pem")]
        return [self.program("gunicorn"), "--bind", f"127.0.0.1:{self.settings['ports']['web']}",
                "--error-logfile", "-", "--access-logfile", "-", "--no-control-socket", "--timeout", "600",
                "--graceful-timeout", "1", "--limit-request-line", "8190", "--worker-class", "gthread",
                "--workers", "1", "--threads", "4", "--pythonpath", HERE, *(tls if self.settings["tls"] else []),
                "web:application"]

    def command_worker(self):
        """The worker, which runs psort over what was uploaded."""
        return [self.program("celery"), "-A", "timesketch.lib.tasks", "worker", "--loglevel=info",
                f"--concurrency={self.settings['worker_count']}", "--without-gossip", "--without-mingle"]

    @staticmethod
    def program(name):
        """A program of Timesketch's environment."""
        return os.path.join(INSTALLED, "python", "bin", name)

    def environment(self):
        """What the servers see of the environment: nothing of the caller's but where things are."""
        return {
            "PATH": f"{os.path.join(INSTALLED, 'python', 'bin')}:/usr/local/bin:/usr/bin:/bin",
            "HOME": self.path("home"),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TIMESKETCH_SETTINGS": self.path("timesketch.conf"),
            "DFAGENT_TEST_ACCOUNTS": self.path("accounts"),
            # By this a process is known as one of these servers', or as started by one of them.
            "DFAGENT_TEST_SERVERS": self.state,
        }

    def about(self):
        """What tests need to know."""
        return {
            "url": self.url,
            "opensearch": f"http://127.0.0.1:{self.settings['ports']['opensearch']}",
            "opensearch_version": self.settings["opensearch"],
            "redis": f"redis://127.0.0.1:{self.settings['ports']['redis']}",
            "user": self.settings["user"],
            "password_file": self.path("accounts", self.settings["user"]),
            "ca_file": self.path("tls", "ca.pem") if self.settings["tls"] else None,
            "upload_folder": self.path("upload"),
            "logs": self.path("logs"),
            "settings": self.path("timesketch.conf"),
            "importer": self.program("timesketch_importer"),
        }
