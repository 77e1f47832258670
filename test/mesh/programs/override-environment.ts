/** Loaded before an agent's program: what a file says counts more than what the lab has given it. */
import { existsSync, readFileSync } from 'node:fs';

const path = process.env.TEST_OVERRIDES ?? '';
if (existsSync(path)) Object.assign(process.env, JSON.parse(readFileSync(path, 'utf8')));
