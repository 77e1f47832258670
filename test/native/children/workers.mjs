// Several environments at once, ended in every way while their threads are busy. argv: object, netns path.
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { nativeAddon } from '../../../src/native/addon.ts';

const [, , objectPath, netnsPath] = process.argv;

if (isMainThread) {
  const addon = nativeAddon();
  const endings = ['return', 'terminate', 'exit', 'throw', 'close'];
  const started = Array.from({ length: 15 }, (_, i) => {
    const ending = endings[i % endings.length];
    const worker = new Worker(new URL(import.meta.url), {
      argv: [objectPath, netnsPath],
      workerData: ending,
    });
    return new Promise((resolve) => {
      worker.on('message', () => {
        if (ending === 'terminate') setTimeout(() => worker.terminate(), i * 3);
      });
      worker.on('error', (error) => {
        if (error.message !== 'meant') throw error;
      });
      worker.on('exit', () => resolve(ending));
    });
  });
  await Promise.all(started);
  // The main environment is untouched by their end.
  const object = addon.openObject(objectPath);
  object.load();
  let heard = 0;
  const ring = addon.openRingBuffer(object.map('events'), () => heard++, { intervalMs: 1 });
  object.program('read_packet').testRun({ packet: new Uint8Array(64) });
  await new Promise((resolve) => setTimeout(resolve, 100));
  ring.close();
  console.log(heard === 1 ? 'all ended' : `heard ${heard}`);
} else {
  const addon = nativeAddon();
  const object = addon.openObject(objectPath);
  object.load();
  const program = object.program('read_packet');
  const ring = addon.openRingBuffer(object.map('events'), () => {}, { intervalMs: 1 });
  const netns = addon.openNetns(netnsPath);
  const watch = addon.watchNetns(netns, undefined, () => {});
  const busy = setInterval(() => program.testRun({ packet: new Uint8Array(64), repeat: 100 }), 1);
  parentPort.postMessage('up');
  setTimeout(() => {
    if (workerData === 'return') clearInterval(busy);
    if (workerData === 'exit') process.exit(0);
    if (workerData === 'throw') throw new Error('meant');
    if (workerData === 'close') {
      clearInterval(busy);
      ring.close();
      watch.close();
      object.close();
    }
  }, 50);
}
