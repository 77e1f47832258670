"""Answers the first SYN to its address and port with a SYN of its own, as a simultaneous open does, and the SYN and ACK that
comes back with an ACK. Prints when it listens, then, after a line of input, what came: without any help of its own kernel."""
import json
import select
import socket
import struct
import sys

SYN, ACK = 2, 16
options = json.loads(sys.argv[1])
address, port = options["at"]
own = socket.inet_pton(socket.AF_INET, address)
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
link.bind((options["device"], 0))
crossed = acknowledged = False
heard = b""


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def send(frame, flags, sequence, acknowledgement):
    """Back to where `frame` came from."""
    client, client_port = frame[26:30], struct.unpack("!H", frame[34:36])[0]
    tcp = struct.pack("!HHIIBBHHH", port, client_port, sequence, acknowledgement, 5 << 4, flags, 65535, 0, 0)
    value = checksum(own + client + struct.pack("!BBH", 0, 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", value) + tcp[18:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + own + client
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    link.send(frame[6:12] + frame[0:6] + b"\x08\x00" + header + tcp)


print(json.dumps({"ready": True}), flush=True)
while sys.stdin not in select.select([link, sys.stdin], [], [])[0]:
    frame, (_, _, kind, *_) = link.recvfrom(2000)
    if kind == socket.PACKET_OUTGOING or frame[23] != 6 or frame[30:34] != own:
        continue
    if struct.unpack("!H", frame[36:38])[0] != port:
        continue
    sequence, flags = struct.unpack("!I", frame[38:42])[0], frame[47]
    total = struct.unpack("!H", frame[16:18])[0]
    heard += frame[34 + (frame[46] >> 4) * 4 : 14 + total]
    if flags & SYN and not flags & ACK and not crossed:
        crossed = True
        send(frame, SYN, 5000, 0)
    elif flags & SYN and flags & ACK and not acknowledged:
        acknowledged = True
        send(frame, ACK, 5001, sequence + 1)
print(json.dumps({"crossed": crossed, "acknowledged": acknowledged, "heard": heard.decode()}), flush=True)
