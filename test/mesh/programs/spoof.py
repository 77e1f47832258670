"""Both ends of attempts to get in as somebody else. argv[1] says which, argv[2] is a JSON object.

serve: greets whoever it accepts, echoes, and tells in lines of JSON whom it accepted and what it read.
dial:  connects as the options say and prints what came of it.
again: the same again and again for a while, from one source port, beside others who do so; prints how often it was greeted.
raw:   a TCP of its own over raw packets, so that no connect() happens; IPv4. Root in the pod's namespace.
"""
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time

GREETING = b"secret "
SYN, ACK, RST, PSH, FIN = 0x02, 0x10, 0x04, 0x08, 0x01


def say(**what):
    print(json.dumps(what), flush=True)


def plain(address):
    return address.removeprefix("::ffff:")


def serve(options):
    def carry(sock):
        try:
            sock.sendall(GREETING)
            while data := sock.recv(65536):
                say(read=data.decode(errors="replace"))
                sock.sendall(data)
        except OSError:
            pass
        sock.close()

    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::", options["port"]))
    listener.listen(64)
    say(listening=options["port"])
    while True:
        sock, peer = listener.accept()
        say(accepted=plain(peer[0]), port=peer[1])
        threading.Thread(target=carry, args=(sock,), daemon=True).start()


def dial_once(options):
    """What was received, '' and why when nothing was."""
    to = options["to"]
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(options.get("timeout", 3))
        if options.get("freebind"):
            sock.setsockopt(socket.IPPROTO_IPV6 if family == socket.AF_INET6 else socket.IPPROTO_IP,
                            78 if family == socket.AF_INET6 else 15, 1)
        if options.get("sourcePort"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Leaves at once, by RST, so that the port is free for the next.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if options.get("bind") or options.get("sourcePort"):
            sock.bind((options.get("bind", ""), options.get("sourcePort", 0)))
        try:
            sock.connect((to, options["port"]))
            sock.sendall(options["text"].encode())
            received = b""
            while len(received) < len(GREETING) + len(options["text"]):
                piece = sock.recv(65536)
                if not piece:
                    break
                received += piece
            return received.decode(), ""
        except OSError as error:
            return "", "TIMEOUT" if isinstance(error, TimeoutError) else os.strerror(error.errno or 0)


def dial(options):
    received, error = dial_once(options)
    say(received=received, error=error)


def again(options):
    end = time.monotonic() + options["seconds"]
    outcomes = {"tried": 0, "greeted": 0, "errors": {}}
    while time.monotonic() < end:
        try:
            received, error = dial_once(options)
        except OSError as failed:
            received, error = "", os.strerror(failed.errno or 0)
        outcomes["tried"] += 1
        outcomes["greeted"] += received != ""
        if error:
            outcomes["errors"][error] = outcomes["errors"].get(error, 0) + 1
    say(**outcomes)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class RawTcp:
    def __init__(self, source, source_port, to, port):
        self.source, self.to = socket.inet_aton(source), socket.inet_aton(to)
        self.ports = (source_port, port)
        self.sequence = random.getrandbits(32)
        self.acknowledged = 0
        self.out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))

    def send(self, flags, data=b""):
        offset = 5 << 4
        header = struct.pack("!HHIIBBHHH", *self.ports, self.sequence, self.acknowledged, offset, flags, 65535, 0, 0)
        pseudo = self.source + self.to + struct.pack("!BBH", 0, 6, len(header) + len(data))
        header = header[:16] + struct.pack("!H", checksum(pseudo + header + data)) + header[18:]
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(header) + len(data), 1, 0, 64, 6, 0, self.source, self.to)
        self.out.sendto(ip + header + data, (socket.inet_ntoa(self.to), 0))
        self.sequence = (self.sequence + len(data) + (1 if flags & (SYN | FIN) else 0)) & 0xFFFFFFFF

    def receive(self, seconds):
        """The next segment of the connection: flags and bytes; None when none came."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.seen.settimeout(left)
            try:
                packet = self.seen.recv(65536)
            except TimeoutError:
                return None
            header = (packet[0] & 15) * 4
            if packet[9] != 6 or packet[12:16] != self.to or packet[16:20] != self.source:
                continue
            total = struct.unpack_from("!H", packet, 2)[0]
            source, to, sequence, _, offset, flags = struct.unpack_from("!HHIIBB", packet, header)
            if (to, source) != self.ports:
                continue
            data = packet[header + (offset >> 4) * 4:total]
            if not flags & RST:
                self.acknowledged = (sequence + len(data) + (1 if flags & (SYN | FIN) else 0)) & 0xFFFFFFFF
            return flags, data
        return None


def raw(options):
    source_port = options.get("sourcePort", random.randrange(20000, 30000))
    # The kernel knows nothing of this connection and would end it.
    rules = "table ip raw-tcp { chain out { type filter hook output priority 0; tcp sport %d tcp flags & rst == rst drop; }; }"
    subprocess.run(["nft", "-f", "-"], input=(rules % source_port).encode(), check=True)
    tcp = RawTcp(options["source"], source_port, options["to"], options["port"])
    result = {"answered": False, "reset": False, "received": ""}
    if options.get("withoutSyn"):
        # As if a SYN cookie had been given out.
        tcp.acknowledged = random.getrandbits(32)
        tcp.send(ACK)
        tcp.send(ACK | PSH, options["text"].encode())
    else:
        tcp.send(SYN)
    while (segment := tcp.receive(options.get("timeout", 1.5))) is not None:
        flags, data = segment
        if flags & RST:
            result["reset"] = True
            break
        if flags & SYN and flags & ACK and not result["answered"]:
            result["answered"] = True
            tcp.send(ACK)
            tcp.send(ACK | PSH, options["text"].encode())
        elif data:
            result["received"] += data.decode()
            tcp.send(ACK)
            if len(result["received"]) >= len(GREETING) + len(options["text"]):
                break
        elif flags & FIN:
            break
    if result["answered"] and not result["reset"]:
        # Not RST, which the rule above would stop as well.
        tcp.send(FIN | ACK)
    say(**result)


{"serve": serve, "dial": dial, "again": again, "raw": raw}[sys.argv[1]](json.loads(sys.argv[2]))
