"""Dials in the way the options say, sends the marker, and prints what came of it as one line of JSON each.

Runs as an unprivileged process of a pod. argv[1]: a list of options. `hold`: the connections are opened one after
another, kept for that many seconds, and only then is the marker sent.
"""
import ctypes
import errno
import json
import socket
import struct
import sys
import time

IP_FREEBIND = 15
IPV6_FREEBIND = 78
MSG_FASTOPEN = 0x20000000
TCP_MD5SIG = 14
TCP_FASTOPEN_CONNECT = 30

libc = ctypes.CDLL(None, use_errno=True)


def md5_key(number):
    address = struct.pack("<HH4s", socket.AF_INET, 0, socket.inet_aton("10.255.%d.%d" % (number >> 8, number & 255)))
    return address.ljust(128, b"\0") + struct.pack("<BBHiI80s", 0, 0, 4, 0, 0, b"keys")


def fill_option_memory(sock, most):
    added = 0
    try:
        while added < most:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, md5_key(added))
            added += 1
    except OSError as error:
        return {"keys": added, "keysRefused": errno.errorcode[error.errno]}
    return {"keys": added}


def bind_to_device(sock, name):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")


def make_socket(options):
    family = socket.AF_INET6 if ":" in options["to"][0] else socket.AF_INET
    if options.get("udp"):
        return socket.socket(family, socket.SOCK_DGRAM)
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_MPTCP if options.get("mptcp") else 0)


def connect(sock, options, marker):
    """Returns whether the marker has gone out already."""
    to = tuple(options["to"])
    if options.get("fastOpen") == "send":
        # With a timeout of Python's the socket is non-blocking, and sendto() returns before the handshake.
        sock.settimeout(None)
        sock.sendto(marker, MSG_FASTOPEN, to)
        return True
    if options.get("fastOpen") == "connect":
        sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    sock.connect(to)
    if options.get("deviceAfter"):
        bind_to_device(sock, options["deviceAfter"])
    return False


def open_socket(options, result):
    marker = options["marker"].encode()
    sock = make_socket(options)
    sock.settimeout(options.get("timeout", 5))
    if options.get("freebind"):
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    if options.get("device"):
        bind_to_device(sock, options["device"])
    if options.get("bind"):
        sock.bind((options["bind"], 0))
    if options.get("keys"):
        result.update(fill_option_memory(sock, options["keys"]))
    if options.get("first"):
        sock.connect(tuple(options["first"]))
        # connect() to AF_UNSPEC dissolves the association, so that the socket can go elsewhere.
        libc.connect(sock.fileno(), struct.pack("<H", 0).ljust(16, b"\0"), 16)
    sent = connect(sock, options, marker)
    result["connected"] = True
    return sock, sent


def exchange(sock, marker, sent, result):
    if not sent:
        sock.sendall(marker)
    sock.settimeout(5)
    result["local"] = endpoint(sock.getsockname())
    result["remote"] = endpoint(sock.getpeername())
    received = b""
    while len(received) < len(marker):
        piece = sock.recv(65536)
        if not piece:
            break
        received += piece
    result["echoed"] = received == marker


def endpoint(name):
    return {"address": name[0].removeprefix("::ffff:"), "port": name[1]}


def attempt(result, action):
    try:
        return action()
    except OSError as error:
        result["error"] = errno.errorcode.get(error.errno, type(error).__name__)
        return None


def main(all_options):
    opened = []
    for options in all_options:
        result = {"connected": False, "echoed": False}
        made = attempt(result, lambda: open_socket(options, result))
        opened.append((options, result, made))
        if options.get("hold") is None:
            finish(*opened.pop())
        if "every" in options:
            time.sleep(options["every"])
    if opened:
        time.sleep(opened[0][0]["hold"])
        for entry in opened:
            finish(*entry)


def finish(options, result, made):
    if made is not None:
        sock, sent = made
        attempt(result, lambda: exchange(sock, options["marker"].encode(), sent, result))
        sock.close()
    print(json.dumps(result), flush=True)


main(json.loads(sys.argv[1]))
