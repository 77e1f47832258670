"""Opens connections one after another for some seconds, each with one exchange and ended by RST; prints how it went.

argv: address, port, seconds.
"""
import json
import socket
import struct
import sys
import time

address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
done, failures, slowest = 0, {}, 0.0
end = time.monotonic() + seconds
while (started := time.monotonic()) < end:
    try:
        with socket.create_connection((address, port), timeout=5) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(b"x")
            if sock.recv(1) != b"x":
                raise OSError("no echo")
        done += 1
    except OSError as error:
        failures[str(error)] = failures.get(str(error), 0) + 1
    slowest = max(slowest, time.monotonic() - started)
print(json.dumps({"done": done, "perSecond": done / seconds, "failures": failures, "slowest": slowest}))
