"""Sends a hand-made SYN, and an ACK with bytes when somebody answers it; prints whether that was so."""
import json
import select
import socket
import struct
import sys
import time

SYN, ACK, PSH = 2, 16, 8
options = json.loads(sys.argv[1])
source, destination = options["from"], options["to"]
family = socket.AF_INET6 if ":" in destination[0] else socket.AF_INET


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(flags, sequence, acknowledged, payload=b""):
    header = struct.pack(
        "!HHIIBBHHH", source[1], destination[1], sequence, acknowledged, 5 << 4, flags, 65535, 0, 0
    )
    ends = socket.inet_pton(family, source[0]) + socket.inet_pton(family, destination[0])
    length = len(header) + len(payload)
    pseudo = ends + (struct.pack("!IHBB", length, 0, 0, 6) if family == socket.AF_INET6 else struct.pack("!BBH", 0, 6, length))
    value = checksum(pseudo + header + payload)
    return header[:16] + struct.pack("!H", value) + header[18:] + payload


sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
# IPV6_TRANSPARENT, IP_TRANSPARENT: any source will do.
sender.setsockopt(*((socket.IPPROTO_IPV6, 75, 1) if family == socket.AF_INET6 else (socket.IPPROTO_IP, 19, 1)))
sender.bind((source[0], 0))
sender.sendto(segment(SYN, 1000, 0), (destination[0], 0))
answered = None
deadline = time.monotonic() + options.get("patience", 0.5)
while answered is None and time.monotonic() < deadline:
    if not select.select([sender], [], [], 0.05)[0]:
        continue
    packet = sender.recv(2000)
    tcp = packet[(packet[0] & 15) * 4 :] if family == socket.AF_INET else packet
    from_port, to_port, sequence, _, _, flags = struct.unpack("!HHIIBB", tcp[:14])
    if from_port == destination[1] and to_port == source[1]:
        answered = "syn-ack" if flags & SYN else "rst"
        if flags & SYN:
            sender.sendto(segment(ACK | PSH, 1001, sequence + 1, b"spoofed"), (destination[0], 0))
print(json.dumps({"answered": answered}), flush=True)
