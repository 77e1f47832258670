"""Tries to connect to every port of an address, many at a time, and sends a marker to whatever answers.

argv: address, first port, last port, marker, and for how many seconds and at most how many a second, where given. Begins again
at the first port when it has time left. Prints a line when it starts and one when it is through.
"""
import errno
import itertools
import json
import os
import selectors
import socket
import sys
import time

address, first, last, marker = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].encode()
seconds = float(sys.argv[5]) if len(sys.argv) > 5 else None
per_second = float(sys.argv[6]) if len(sys.argv) > 6 else None
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
ports = iter(range(first, last + 1)) if seconds is None else itertools.cycle(range(first, last + 1))
exhausted = False
tried = 0


def may_try():
    if exhausted or len(since) >= at_once:
        return False
    return per_second is None or tried < (time.monotonic() - started) * per_second


while not exhausted or since:
    if seconds is not None and time.monotonic() - started > seconds:
        break
    # In turns, so that what is refused at once does not keep the others from being looked at.
    for _ in range(at_once):
        if not may_try():
            break
        port = next(ports, None)
        exhausted = port is None
        if port is not None:
            tried += 1
            try_port(port)
    for key, events in selector.select(0.05 if per_second is None else 0.001):
        progress(key.fileobj, events)
    now = time.monotonic()
    # Oldest first.
    for sock in [one for one, then in list(since.items())[:at_once] if now - then > patience]:
        end(sock, "silent")
for sock in list(since):
    end(sock, "pending")
cpu = os.times()
print(
    json.dumps(
        {
            "seconds": time.monotonic() - started,
            "tried": tried,
            "cpu": cpu.user + cpu.system,
            "outcomes": outcomes,
        }
    ),
    flush=True,
)
