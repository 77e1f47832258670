// What a build needs from the machine. scripts/setup installs the packages that are named in scripts/apt-packages.
import { existsSync } from 'node:fs';

const commands = ['cmake', 'g++', 'pkg-config', 'clang', 'llvm-strip', 'bpftool', 'flock'];
const headers = ['bpf/libbpf.h', 'libmnl/libmnl.h', 'gelf.h', 'nghttp2/nghttp2.h'];

/** Commands and headers that are missing, by name; empty when the build can start. */
export function missingForBuild() {
  const path = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  return [
    ...commands.filter(
      (command) => !path.some((directory) => directory !== '' && existsSync(`${directory}/${command}`)),
    ),
    ...headers.filter(
      (header) =>
        !existsSync(`/usr/include/${header}`) && !existsSync(`/usr/include/x86_64-linux-gnu/${header}`),
    ),
  ];
}
