import { get, serve } from './service.mjs';

serve({
  '/left': () => ({ left: [3, 0, 12, 7] }),
  // A client without identity: this pod is outside the mesh and asks a pod that is inside.
  '/recount': (context) => get('catalog', '/books', context).then(({ seen }) => ({ seen })),
});
