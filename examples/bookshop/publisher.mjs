import { serve } from './service.mjs';

serve({ '/quotes': () => ({ quotes: ['could not put it down'] }) });
