"""Does with sockets what it is told, one JSON line each, and answers with the line's id; a call that waits holds up no other.
Bytes of a stream are those of one random block, over and over, so that the receiver knows what has to come at which place."""
import array
import ctypes
import errno
import fcntl
import json
import os
import random
import select
import socket
import struct
import sys
import termios
import threading
import time

SO_ZEROCOPY, MSG_ZEROCOPY, TCP_ULP = 60, 0x4000000, 31
PERIOD = 4_000_037
block = random.Random(7).randbytes(PERIOD)
twice = block + block

sockets = {}
sent = {}
received = {}
polls = {}


def expected(at, length):
    at %= PERIOD
    return twice[at : at + length] if length <= PERIOD else (block * (length // PERIOD + 2))[at : at + length]


def advance(counter, name, length):
    at = counter.get(name, 0)
    counter[name] = at + length
    return at


def check(name, data):
    at = advance(received, name, len(data))
    wrong = data != expected(at, len(data))
    return {"bytes": len(data), "exact": not wrong, "at": at}


def flags_of(names):
    return sum(MSG_ZEROCOPY if name == "MSG_ZEROCOPY" else getattr(socket, name) for name in names)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(name, at, mptcp=False):
    one = socket.socket(family_of(at[0]), socket.SOCK_STREAM, 262 if mptcp else 0)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(tuple(at))
    one.listen(64)
    sockets[name] = one
    return {}


def begin(name, one):
    sockets[name] = one
    sent[name] = received[name] = 0


def connect(name, to, mptcp=False, **bound):
    one = socket.socket(family_of(to[0]), socket.SOCK_STREAM, 262 if mptcp else 0)
    if "from" in bound:
        one.bind(("", bound["from"]))
    one.connect(tuple(to))
    if not mptcp:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    begin(name, one)
    return {"local": one.getsockname()[1]}


def dissolve(name):
    """Ends what the socket is connected to, by connect() to AF_UNSPEC."""
    ctypes.CDLL(None).connect(sockets[name].fileno(), struct.pack("<H", 0).ljust(16, b"\0"), 16)


def reconnect(name, to):
    dissolve(name)
    sockets[name].connect(tuple(to))
    return {}


def relisten(name, at):
    """What was a connection listens."""
    dissolve(name)
    sockets[name].bind(tuple(at))
    sockets[name].listen(8)
    return {}


def accept(name, of):
    one, peer = sockets[of].accept()
    begin(name, one)
    return {"peer": peer[1]}


def send(name, bytes, flags=()):
    """One send() of the next bytes of the stream, or several until all are out when the socket waits."""
    at = sent.get(name, 0)
    count = sockets[name].send(expected(at, bytes), flags_of(flags))
    advance(sent, name, count)
    return {"bytes": count}


def receive(name, bytes, flags=()):
    """One recv(). What was only looked at is no progress."""
    data = sockets[name].recv(bytes, flags_of(flags))
    if "MSG_PEEK" in flags:
        return {"bytes": len(data), "exact": data == expected(received.get(name, 0), len(data))}
    return check(name, data)


def stream(name, total, largest, seed=1, sizes=None, pause=0):
    """Sends the next `total` bytes in pieces of random size, most of them small."""
    chance = random.Random(seed)
    left = total
    while left > 0:
        size = min(left, int(largest ** chance.random()) or 1)
        at = advance(sent, name, size)
        sockets[name].sendall(expected(at, size))
        left -= size
        if pause and chance.random() < pause:
            time.sleep(0.001)
    return {"bytes": total}


def drain(name, total, largest, seed=2, pause=0, poll=False):
    """Receives until `total` bytes or the end, in pieces of random size; stops at the first that is out of place."""
    chance = random.Random(seed)
    one = sockets[name]
    left = total
    buffer = bytearray(largest)
    waiting = select.poll()
    waiting.register(one, select.POLLIN)
    while left > 0:
        size = min(left, int(largest ** chance.random()) or 1)
        if poll:
            waiting.poll()
        count = one.recv_into(buffer, size)
        if count == 0:
            break
        found = check(name, bytes(buffer[:count]))
        if not found["exact"]:
            return {"bytes": total - left, "exact": False, "at": found["at"]}
        left -= count
        if pause and chance.random() < pause:
            time.sleep(0.002)
    return {"bytes": total - left, "exact": True}


def fill(name, piece, limit):
    """Sends without waiting until the socket takes no more, or `limit` bytes are out."""
    one = sockets[name]
    one.setblocking(False)
    out = 0
    error = None
    while out < limit:
        try:
            count = one.send(expected(sent.get(name, 0), piece))
            advance(sent, name, count)
            out += count
        except OSError as failure:
            error = errno.errorcode[failure.errno]
            break
    one.setblocking(True)
    return {"bytes": out, "error": error}


def take(name, size):
    """The next `size` bytes, which nobody looks at."""
    left = size
    while left > 0:
        left -= len(sockets[name].recv(left))
    advance(received, name, size)


def exchange(name, count, size):
    """Requests and answers, one after the other; the other side answers with `answer`. Median in us."""
    one = sockets[name]
    times = []
    for _ in range(count):
        started = time.perf_counter()
        one.sendall(expected(advance(sent, name, size), size))
        take(name, size)
        times.append(time.perf_counter() - started)
    return {"medianUs": sorted(times)[count // 2] * 1e6}


def answer(name, count, size):
    one = sockets[name]
    for _ in range(count):
        take(name, size)
        one.sendall(expected(advance(sent, name, size), size))
    return {}


def sendfile(name, bytes, path):
    with open(path, "wb") as file:
        file.write(expected(sent.get(name, 0), bytes))
    with open(path, "rb") as file:
        count = os.sendfile(sockets[name].fileno(), file.fileno(), 0, bytes)
    os.unlink(path)
    advance(sent, name, count)
    return {"bytes": count}


def splice(name, bytes):
    """splice() to a pipe, without waiting."""
    inward, outward = os.pipe()
    sockets[name].setblocking(False)
    try:
        os.splice(sockets[name].fileno(), outward, bytes)
        return check(name, os.read(inward, bytes))
    finally:
        sockets[name].setblocking(True)
        os.close(inward)
        os.close(outward)


def option(name, level, option, value=None):
    """Without a value: reads it, which clears SO_ERROR."""
    if value is None:
        return {"value": sockets[name].getsockopt(getattr(socket, level), getattr(socket, option))}
    sockets[name].setsockopt(
        getattr(socket, level) if isinstance(level, str) else level,
        getattr(socket, option) if isinstance(option, str) else option,
        bytes.fromhex(value) if isinstance(value, str) else value,
    )
    return {}


def shutdown(name):
    sockets[name].shutdown(socket.SHUT_WR)
    return {}


def close(name, reset=False):
    one = sockets.pop(name, None)
    if one is None:
        return {}
    if reset:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    one.close()
    return {}


def queued(name):
    waiting = array.array("i", [0])
    fcntl.ioctl(sockets[name].fileno(), termios.FIONREAD, waiting)
    return {"bytes": waiting[0]}


def tcp_info(name):
    info = sockets[name].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return {
        "acked": int.from_bytes(info[120:128], sys.byteorder),
        "received": int.from_bytes(info[128:136], sys.byteorder),
    }


def watch(name):
    """Edge-triggered; `events` tells what came since the last time."""
    polls[name] = select.epoll()
    polls[name].register(sockets[name].fileno(), select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
    return {}


def events(name, timeout=2):
    return {"events": [mask for _, mask in polls[name].poll(timeout)]}


commands = {one.__name__: one for one in (
    listen, connect, reconnect, relisten, accept, send, receive, stream, drain, fill, exchange, answer, sendfile, splice, option, shutdown, close,
    queued, tcp_info, watch, events)}
printing = threading.Lock()


def obey(line):
    order = json.loads(line)
    number = order.pop("id")
    try:
        answer = {"id": number, "ok": True, **commands[order.pop("do")](**order)}
    except OSError as failure:
        answer = {"id": number, "ok": False, "error": errno.errorcode.get(failure.errno, str(failure))}
    except Exception as failure:
        answer = {"id": number, "ok": False, "error": repr(failure)}
    with printing:
        print(json.dumps(answer), flush=True)


for line in sys.stdin:
    threading.Thread(target=obey, args=(line,), daemon=True).start()
