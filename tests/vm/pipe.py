"""One connection of the guest's to a server on this machine's loopback: QEMU starts it with the guest's end as its input
and output.

    pipe.py PORT
"""

import os
import socket
import sys
import threading


def to_server(server):
    """What the guest sends."""
    while data := os.read(0, 1 << 16):
        server.sendall(data)
    server.shutdown(socket.SHUT_WR)


def main():
    server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    threading.Thread(target=to_server, args=(server,), daemon=True).start()
    while data := server.recv(1 << 16):
        while data:
            data = data[os.write(1, data) :]
    os._exit(0)


main()
