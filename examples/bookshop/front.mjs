import { get, serve } from './service.mjs';

serve({
  '/': async (context) => {
    const [catalog, reviews] = await Promise.all([
      get('catalog', '/books', context),
      get('reviews', '/reviews', context),
    ]);
    const books = catalog.books.map((book) => ({ ...book, stars: reviews.stars[book.id] }));
    return { books };
  },
});
