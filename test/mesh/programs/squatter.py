"""Listens on ports and echoes; tells each port taken or refused, then each connection that it got, in lines of JSON.

argv[1]: ports, argv[2]: "reuseport" to share them with sockets of the same user.
"""
import errno
import json
import socket
import sys
import threading


def say(**what):
    print(json.dumps(what), flush=True)


def serve(sock):
    try:
        while data := sock.recv(65536):
            sock.sendall(data)
    except OSError:
        pass
    sock.close()


def accept_all(listener, port):
    while True:
        sock, peer = listener.accept()
        say(accepted=port, peer=peer[0].removeprefix("::ffff:"))
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


def listen(port):
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if "reuseport" in sys.argv[2:]:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("::", port))
    listener.listen(64)
    return listener


listeners = {}
refused = {}
for port in json.loads(sys.argv[1]):
    try:
        listeners[port] = listen(port)
    except OSError as error:
        refused[port] = errno.errorcode[error.errno]
for port, listener in listeners.items():
    threading.Thread(target=accept_all, args=(listener, port), daemon=True).start()
say(listening=list(listeners), refused=refused)
threading.Event().wait()
