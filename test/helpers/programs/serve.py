"""Accepts connections: `app` like any application, `agent` as the three steered listeners of a pod.

Each connection is told in one line of JSON who answers and which addresses the socket has; then its bytes come back.
"""
import json
import socket
import struct
import sys
import threading

import kernel_maps

IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75


def endpoint(name):
    address = name[0].removeprefix("::ffff:")
    return {"address": address, "port": name[1]}


def answer(sock, who):
    try:
        told = {
            "who": who,
            "local": endpoint(sock.getsockname()),
            "remote": endpoint(sock.getpeername()),
            "mark": sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK),
        }
        sock.sendall(json.dumps(told).encode() + b"\n")
        while True:
            data = sock.recv(1 << 18)
            if not data:
                break
            sock.sendall(data)
    except OSError:
        pass
    finally:
        sock.close()


def accept_all(listener, who):
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=answer, args=(sock, who), daemon=True).start()


def listen(port, protocol=0, reuse_port=False, transparent=False):
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, protocol)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if transparent:
        listener.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    listener.bind(("::", port))
    listener.listen(1024)
    return listener


def serve_app(options):
    protocol = socket.IPPROTO_MPTCP if options.get("mptcp") else 0
    for port in options["ports"]:
        listener = listen(port, protocol, options.get("reusePort", False))
        threading.Thread(target=accept_all, args=(listener, options.get("who", "app")), daemon=True).start()


def serve_agent(options):
    sock_map = kernel_maps.open_map(options["listeners"])
    for kind, name in enumerate(("outbound", "hbone", "plaintext")):
        for worker in options["workers"]:
            listener = listen(0, reuse_port=options.get("reusePort", False), transparent=True)
            kernel_maps.exempt(options["exempt"], listener)
            key = struct.pack("<IHH", options["podIndex"], kind, worker)
            kernel_maps.update(sock_map, key, struct.pack("<Q", listener.fileno()))
            ports[name] = listener.getsockname()[1]
            who = f"{name}/{worker}"
            threading.Thread(target=accept_all, args=(listener, who), daemon=True).start()


ports = {}
settings = json.loads(sys.argv[1])
(serve_agent if settings["as"] == "agent" else serve_app)(settings)
print(json.dumps({"ready": True, "ports": ports}), flush=True)
threading.Event().wait()
