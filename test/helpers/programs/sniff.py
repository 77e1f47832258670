"""Counts TCP packets that arrive on one interface, from everybody; prints how many since the last line of input, and, with
a marker, how many of them carried it."""
import json
import socket
import sys
import threading

ETH_P_ALL = 3
count = 0
marked = 0
told = []
options = json.loads(sys.argv[1])
marker = options.get("marker", "").encode()


def listen(sock):
    global count, marked
    while True:
        frame, address = sock.recvfrom(200)
        # Only what comes in: what leaves the pod.
        if address[2] == socket.PACKET_OUTGOING:
            continue
        kind = frame[12:14]
        if (kind == b"\x08\x00" and frame[23] == 6) or (kind == b"\x86\xdd" and frame[20] == 6):
            count += 1
            told.append(frame[14:74].hex())
            marked += marker != b"" and marker in frame


sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
sniffer.bind((options["device"], 0))
threading.Thread(target=listen, args=(sniffer,), daemon=True).start()
print(json.dumps({"ready": True}), flush=True)
for _ in sys.stdin:
    seen = {"count": count, "first": told[:3]}
    print(json.dumps({**seen, "marked": marked} if marker else seen), flush=True)
    count = marked = 0
    told.clear()
