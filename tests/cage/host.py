#!/usr/bin/env python3
"""Makes the things on the host that a cage must not reach, and keeps them while its input is open.

usage: host.py FOLDER UID

Writes FOLDER/facts.json and prints "ready". Needs root.
"""

import contextlib
import ctypes
import json
import os
import socket
import struct
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
SHMGET, SHMCTL, MQ_OPEN, MQ_UNLINK, NAME_TO_HANDLE_AT = 29, 31, 240, 241, 303


def call(number, *arguments):
    result = LIBC.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def handle_of(path):
    """The handle by which open_by_handle_at opens a file."""
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 160)
    mount = ctypes.c_int()
    call(NAME_TO_HANDLE_AT, ctypes.c_long(-100), path.encode(), handle, ctypes.byref(mount), ctypes.c_long(0))
    return handle.raw.hex()


def own_address():
    """The address that this host would use to reach others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        try:
            end.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return end.getsockname()[0]


def listener(stack, family, address):
    end = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    end.bind(address)
    end.listen()
    return end


def process(stack, user):
    """A process of a user that only waits."""
    become = ["/usr/bin/setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]
    started = subprocess.Popen([*become, "/usr/bin/sleep", "600"])
    stack.callback(started.wait)
    stack.callback(started.kill)
    return started.pid


def shared_memory(stack, key):
    segment = call(SHMGET, ctypes.c_long(key), ctypes.c_long(4096), ctypes.c_long(0o1666))
    stack.callback(call, SHMCTL, ctypes.c_long(segment), ctypes.c_long(0), None)
    return key


def queue(stack, name):
    os.umask(0)
    call(MQ_OPEN, name.encode(), ctypes.c_long(os.O_CREAT | os.O_RDWR), ctypes.c_long(0o666), None)
    os.umask(0o022)
    stack.callback(call, MQ_UNLINK, name.encode())
    return name


def main():
    folder, user = sys.argv[1], int(sys.argv[2])
    mark = f"dfagent-test-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        port = listener(stack, socket.AF_INET, ("0.0.0.0", 0)).getsockname()[1]
        listener(stack, socket.AF_UNIX, "\0" + mark)
        path = f"{folder}/socket"
        listener(stack, socket.AF_UNIX, path)
        os.chmod(path, 0o777)
        secret = f"{folder}/secret"
        with open(secret, "w", encoding="ascii") as file:
            file.write("secret of the host\n")
        facts = {
            "port": port,
            "address": own_address(),
            "abstract": mark,
            "socket": path,
            "secret": secret,
            "handle": handle_of("/etc/shadow"),
            "user_pid": process(stack, user),
            "root_pid": os.getpid(),
            "key": mark,
            "shared_memory": shared_memory(stack, os.getpid()),
            "queue": queue(stack, mark),
        }
        with open(f"{folder}/facts.json", "w", encoding="utf-8") as file:
            json.dump(facts, file)
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
