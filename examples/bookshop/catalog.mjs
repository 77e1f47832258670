import { get, serve } from './service.mjs';

const titles = [
  'The Mesh Without Sidecars',
  'Packets I Have Known',
  'A Short History of the Handshake',
  'Reading the Kernel at Night',
];

serve({
  '/books': async (context) => {
    const { left } = await get('stock', '/left', context);
    return { books: titles.map((title, id) => ({ id, title, left: left[id], blurb: title.repeat(64) })) };
  },
});
