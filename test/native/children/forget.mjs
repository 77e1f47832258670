// Opens one of everything, closes nothing, and ends. argv: object, netns path, how to end, [bpffs].
import { nativeAddon } from '../../../src/native/addon.ts';

const [, , objectPath, netnsPath, ending] = process.argv;
const addon = nativeAddon();
const object = addon.openObject(objectPath);
object.load();
const events = object.map('events');
const program = object.program('read_packet');
let heard = 0;
addon.openRingBuffer(events, () => heard++, { intervalMs: 1 });
const netns = addon.openNetns(netnsPath);
const routing = { mark: 0x4841, mask: 0xffff, table: 18497, priority: 100 };
addon.watchNetns(netns, routing, () => heard++);
const write = () => program.testRun({ packet: new Uint8Array(64), repeat: 50 });
write();

switch (ending) {
  case 'return':
    break;
  case 'exit-under-load':
    setInterval(write, 1);
    setTimeout(() => process.exit(0), 300);
    break;
  case 'throw-in-listener':
    addon.watchNetns(netns, undefined, () => {
      throw new Error('from the listener');
    });
    setTimeout(() => {}, 2000);
    break;
  case 'catch-from-listener':
    process.on('uncaughtException', (error) => console.log(`caught ${error.message}`));
    addon.watchNetns(netns, undefined, () => {
      throw new Error('from the listener');
    });
    setTimeout(() => {}, 300);
    break;
  case 'collect': {
    for (let i = 0; i < 300; i++) {
      const other = addon.openObject(objectPath);
      other.load();
      other.map('pairs').keys();
      other.program('read_packet');
      if (i % 50 === 0) globalThis.gc();
    }
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const { readdirSync } = await import('node:fs');
    console.log(readdirSync('/proc/self/fd').length < 120 ? 'descriptors are back' : 'descriptors are lost');
    write();
    const before = heard;
    await new Promise((resolve) => setTimeout(resolve, 200));
    // The subscription of a handle that nobody holds goes on.
    console.log(heard > before ? 'still heard' : 'silent');
    break;
  }
  default:
    throw new Error(`unknown ending ${ending}`);
}
