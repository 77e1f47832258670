# Asks for an A record by a socket of the given kind and tells who seemed to answer, and whom it seems connected to.
import json, os, socket, struct, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kernel_maps

options = json.loads(sys.argv[1])
family = socket.AF_INET6 if options.get("family") == 6 else socket.AF_INET
kind = socket.SOCK_STREAM if options.get("tcp") else socket.SOCK_DGRAM
name = b"".join(bytes([len(part)]) + part.encode() for part in options["name"].split(".")) + b"\0"
query = struct.pack("!6H", 0x1234, 0x0100, 1, 0, 0, 0) + name + struct.pack("!2H", 1, 1)
told = []
sock = socket.socket(family, kind)
sock.settimeout(options.get("timeout", 2))
if options.get("exempt"):
    kernel_maps.exempt(options["exempt"], sock)
if options.get("bind"):
    sock.bind((options["bind"], 0))
if options.get("device"):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options["device"].encode())
try:
    if options.get("tcp"):
        sock.connect((options["to"][0], 53))
        for _ in range(options.get("repeat", 1)):
            sock.sendall(struct.pack("!H", len(query)) + query)
        for _ in range(options.get("repeat", 1)):
            length = struct.unpack("!H", sock.recv(2, socket.MSG_WAITALL))[0]
            told.append({"bytes": len(sock.recv(length, socket.MSG_WAITALL)), "peer": sock.getpeername()[:2]})
    elif options.get("connect"):
        sock.connect((options["to"][0], 53))
        sock.send(query)
        answer, source = sock.recvfrom(4096)
        told.append({"from": source[:2], "peer": sock.getpeername()[:2], "bytes": len(answer)})
    else:
        for nameserver in options["to"]:
            sock.sendto(query, (nameserver, 53))
        for _ in options["to"]:
            answer, source = sock.recvfrom(4096)
            told.append({"from": source[:2], "bytes": len(answer)})
except OSError as error:
    told.append({"error": type(error).__name__})
print(json.dumps(told))
