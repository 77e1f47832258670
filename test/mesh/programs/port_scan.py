"""Tries to connect to every port of an address, many at a time, and sends a marker to whatever answers.

argv: address, first port, last port, marker. Prints a line when it starts and one when it is through.
"""
import errno
import json
import selectors
import socket
import sys
import time

address, first, last, marker = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].encode()
at_once = 256
patience = 1.0

family = socket.AF_INET6 if ":" in address else socket.AF_INET
selector = selectors.DefaultSelector()
since = {}
outcomes = {}


def count(outcome):
    outcomes[outcome] = outcomes.get(outcome, 0) + 1


def end(sock, outcome):
    selector.unregister(sock)
    since.pop(sock, None)
    sock.close()
    count(outcome)


def try_port(port):
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    code = sock.connect_ex((address, port))
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        count(errno.errorcode[code])
        return
    selector.register(sock, selectors.EVENT_WRITE)
    since[sock] = time.monotonic()


def progress(sock, events):
    try:
        if events & selectors.EVENT_WRITE:
            sock.send(marker)
            selector.modify(sock, selectors.EVENT_READ)
        else:
            end(sock, "answered" if sock.recv(64) else "closed")
    except OSError as error:
        end(sock, errno.errorcode.get(error.errno, "other"))


print(json.dumps({"started": True}), flush=True)
started = time.monotonic()
ports = iter(range(first, last + 1))
exhausted = False
while not exhausted or since:
    while not exhausted and len(since) < at_once:
        port = next(ports, None)
        exhausted = port is None
        if port is not None:
            try_port(port)
    for key, events in selector.select(0.05):
        progress(key.fileobj, events)
    now = time.monotonic()
    # Oldest first.
    for sock in [one for one, then in list(since.items())[:at_once] if now - then > patience]:
        end(sock, "silent")
print(json.dumps({"seconds": time.monotonic() - started, "outcomes": outcomes}), flush=True)
