import { get, serve } from './service.mjs';

serve({
  '/reviews': async (context) => {
    // The publisher is a machine beyond the cluster; the mesh has no part in this connection.
    const { quotes } = await get('publisher', '/quotes', context);
    return { stars: [5, 4, 3, 5], quotes };
  },
});
