"""Dials one destination in the way the options say, and prints what came of it as one line of JSON."""
import ctypes
import errno
import json
import os
import select
import socket
import struct
import sys
import time

import kernel_maps

IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
IPV6_FREEBIND = 78
SO_ATTACH_FILTER = 26
MSG_FASTOPEN = 0x20000000
TCP_MD5SIG = 14
TCP_FASTOPEN_CONNECT = 30


def endpoint(name):
    return {"address": name[0].removeprefix("::ffff:"), "port": name[1]}


def md5_key(family, number):
    last = struct.pack(">H", number)
    if family == socket.AF_INET6:
        address = struct.pack("<HHI16sI", family, 0, 0, b"\xfd" + bytes(13) + last, 0)
    else:
        address = struct.pack("<HH4s", family, 0, b"\x0a\xff" + last)
    return address.ljust(128, b"\0") + struct.pack("<BBHiI80s", 0, 0, 4, 0, 0, b"keys")


def fill_up(sock):
    """What keys leave of the option memory may still hold something small: a filter that passes all takes it."""
    for length in range(60, 0, -1):
        filter = ctypes.create_string_buffer(struct.pack("<HBBI", 0x0, 0, 0, 0) * (length - 1) + struct.pack("<HBBI", 0x6, 0, 0, 0xFFFFFFFF))
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", length, ctypes.addressof(filter)))
            return
        except OSError:
            pass


def make_socket(options):
    family = socket.AF_INET6 if options.get("family") == 6 or ":" in options["to"][0] else socket.AF_INET
    if options.get("udp"):
        return socket.socket(family, socket.SOCK_DGRAM)
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_MPTCP if options.get("mptcp") else 0)


def prepare(sock, options, result):
    if options.get("transparent"):
        sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    if options.get("freebind"):
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    if options.get("mark"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, options["mark"])
    if options.get("exempt"):
        kernel_maps.exempt(options["exempt"], sock)
    if options.get("device"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options["device"].encode() + b"\0")
    if options.get("bind"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(tuple(options["bind"]))
    if options.get("md5Keys"):
        added = 0
        try:
            while added < options["md5Keys"]:
                sock.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, md5_key(sock.family, added))
                added += 1
        except OSError as error:
            result["md5Refused"] = errno.errorcode[error.errno]
            fill_up(sock)
        result["md5Keys"] = added


def connect(sock, options):
    to = tuple(options["to"])
    if options.get("fastOpen") == "connect":
        sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        sock.connect(to)
        if options.get("deviceAfter"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options["deviceAfter"].encode() + b"\0")
        sock.sendall(b"x")
    elif options.get("fastOpen") == "send":
        # Python's own timeouts make the socket non-blocking, and sendto() would return before the handshake.
        sock.settimeout(None)
        sock.sendto(b"x", MSG_FASTOPEN, to)
        sock.settimeout(options.get("timeout", 3))
    elif options.get("nonBlocking"):
        sock.setblocking(False)
        error = sock.connect_ex(to)
        if error != errno.EINPROGRESS:
            raise OSError(error, "not in progress")
        select.select([], [sock], [], options.get("timeout", 3))
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        sock.settimeout(options.get("timeout", 3))
    else:
        sock.connect(to)


def read_line(sock):
    line = b""
    while not line.endswith(b"\n"):
        piece = sock.recv(1)
        if not piece:
            raise ConnectionError("closed before it said who answers")
        line += piece
    return json.loads(line), len(line)


def carry(sock, count):
    sent = received = 0
    block = bytes(65536)
    sock.setblocking(False)
    while received < count:
        if sent < count:
            try:
                sent += sock.send(block[: min(len(block), count - sent)])
                if sent == count:
                    sock.shutdown(socket.SHUT_WR)
            except BlockingIOError:
                pass
        try:
            piece = sock.recv(1 << 18)
            if not piece:
                break
            received += len(piece)
        except BlockingIOError:
            time.sleep(0.0002)
    return received


def dial(options):
    result = {"connected": False}
    sock = make_socket(options)
    sock.settimeout(options.get("timeout", 3))
    started = time.monotonic()
    try:
        prepare(sock, options, result)
        if options.get("first"):
            try:
                connect(sock, {"to": options["first"]})
            except OSError as error:
                result["firstError"] = errno.errorcode.get(error.errno, str(error))
            if options.get("again"):
                # A non-blocking socket tells a failure twice, then begins anew.
                sock.connect_ex(tuple(options["first"]))
            else:
                # connect() to AF_UNSPEC dissolves the association, so the socket can go elsewhere.
                kernel_maps.libc.connect(sock.fileno(), struct.pack("<H", 0).ljust(16, b"\0"), 16)
        connect(sock, options)
        result["connected"] = True
        if options.get("say"):
            sock.sendall(options["say"].encode())
        result["local"] = endpoint(sock.getsockname())
        result["remote"] = endpoint(sock.getpeername())
        result["mark"] = sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)
        if not options.get("udp"):
            result["answer"], result["greetingBytes"] = read_line(sock)
            if options.get("bytes"):
                result["received"] = carry(sock, options["bytes"])
    except OSError as error:
        result["error"] = errno.errorcode.get(error.errno, type(error).__name__)
    result["seconds"] = time.monotonic() - started
    print(json.dumps(result), flush=True)
    if options.get("hold"):
        sys.stdin.readline()
        if result["connected"]:
            sock.settimeout(options.get("patience", 2))
            try:
                sock.sendall(b"y")
                held = {"alive": len(sock.recv(1)) == 1}
            except OSError as error:
                held = {"alive": False, "error": errno.errorcode.get(error.errno, type(error).__name__)}
            print(json.dumps(held), flush=True)
    if options.get("reset"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("<ii", 1, 0))
    sock.close()


for _ in range(json.loads(sys.argv[1]).get("repeat", 1)):
    dial(json.loads(sys.argv[1]))
