"""Runs a command where nothing but this machine can be reached, and prints as JSON what it tried to reach.

    unshare -rmn python offline_watch.py COMMAND...      # a network of its own, and mounts of its own

A resolver on 127.0.0.1:53, named by a resolv.conf that is mounted for this process tree alone, notes every name that is asked
for and answers 127.0.0.99, where two listeners note connections to the ports of HTTP and HTTPS.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
TRAP = "127.0.0.99"


def main(command: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    with tempfile.NamedTemporaryFile("w") as configuration:
        configuration.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        configuration.flush()
        subprocess.run(["mount", "--bind", configuration.name, "/etc/resolv.conf"], check=True)
        names: set[str] = set()
        connections: list[int] = []
        threading.Thread(target=resolve, args=(names, bound(socket.SOCK_DGRAM, "127.0.0.1", 53)), daemon=True).start()
        for port in (80, 443):
            listener = bound(socket.SOCK_STREAM, TRAP, port)
            listener.listen()
            threading.Thread(target=accept, args=(connections, listener, port), daemon=True).start()
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    tried = {"names": sorted(names - {socket.gethostname()}), "connections": connections}
    print(json.dumps({**tried, "returncode": done.returncode, "output": (done.stdout + done.stderr)[-3000:]}))


def bound(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    opened.bind((address, port))
    return opened


def resolve(names: set[str], server: socket.socket) -> None:
    """Answers each query for an IPv4 address with TRAP, and any other one with no records."""
    while True:
        query, client = server.recvfrom(512)
        labels, place = [], 12
        while query[place]:
            labels.append(query[place + 1 : place + 1 + query[place]].decode(errors="replace"))
            place += 1 + query[place]
        names.add(".".join(labels))
        question = query[12 : place + 5]
        is_a = question[-4:-2] == b"\0\1"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(TRAP) if is_a else b""
        server.sendto(query[:2] + b"\x81\x80\0\1" + struct.pack(">H", is_a) + b"\0\0\0\0" + question + answer, client)


def accept(connections: list[int], listener: socket.socket, port: int) -> None:
    while True:
        connection, _ = listener.accept()
        connections.append(port)
        connection.close()


if __name__ == "__main__":
    os.environ.pop("CI", None)  # Some libraries report nothing where they find it.
    main(sys.argv[1:])
