"""A process of a pod whose /etc/resolv.conf is what it should not be: odd_file.py CGROUP KIND.

Says "ready" when it is made, then a line for each request that its file system gets and never answers. Ends with its input,
and with it the file system, so whoever waits for an answer is told.
"""
import ctypes, os, select, struct, sys

libc = ctypes.CDLL(None, use_errno=True)


def check(code):
    if code != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def mount(source, target, kind, flags=0, data=None):
    check(libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, data and data.encode()))


def fuse_at(target):
    device = os.open('/dev/fuse', os.O_RDWR | os.O_CLOEXEC)
    mount('silent', target, 'fuse', 0, f'fd={device},rootmode=100644,user_id=0,group_id=0,allow_other')
    return device


MS_REC_PRIVATE = (1 << 14) | (1 << 18)
FUSE_INIT = 26

cgroup, kind = sys.argv[1:]
with open(f'{cgroup}/cgroup.procs', 'w') as procs:
    procs.write(str(os.getpid()))
check(libc.unshare(0x00020000))
mount('none', '/', None, MS_REC_PRIVATE)
mount('tmpfs', '/etc', 'tmpfs')
path = '/etc/resolv.conf'
device = None
if kind == 'file':
    open(path, 'w').write('search shop.example\nnameserver 10.0.0.53\n')
elif kind == 'endless':
    open(path, 'w').write('search shop.example\n' + '#' * 1_000_000)
elif kind == 'fifo':
    os.mkfifo(path)
elif kind == 'directory':
    os.mkdir(path)
elif kind == 'device':
    os.symlink('/dev/zero', path)
elif kind == 'missing':
    pass
elif kind == 'outside':
    os.symlink('/proc/self/root/etc/hostname', path)
elif kind == 'silent mount':
    open(path, 'w').close()
    device = fuse_at(path)
elif kind == 'silent':
    # Behind a link: the mounts do not tell that the path leads there.
    open('/etc/silent', 'w').close()
    device = fuse_at('/etc/silent')
    os.symlink('silent', path)
print('ready', flush=True)
while True:
    ready, _, _ = select.select([0] + ([device] if device is not None else []), [], [])
    if 0 in ready:
        break
    request = os.read(device, 1 << 20)
    _, opcode, unique = struct.unpack_from('<IIQ', request)
    if opcode == FUSE_INIT:
        body = struct.pack('<IIIIHHIIHHI7I', 7, 31, 0, 0, 0, 0, 65536, 1, 0, 0, 0, *[0] * 7)
        os.write(device, struct.pack('<IiQ', 16 + len(body), 0, unique) + body)
    else:
        print('asked', opcode, flush=True)
