"""Echoes datagrams on a port of both families."""
import socket
import sys

sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
sock.bind(("::", int(sys.argv[1])))
print("{}", flush=True)
while True:
    data, peer = sock.recvfrom(65536)
    sock.sendto(data, peer)
