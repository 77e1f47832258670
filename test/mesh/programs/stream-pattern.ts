// Reproducible bytes that do not repeat within a chunk, so a lost or doubled piece changes the digest.
import { createCipheriv, createHash } from 'node:crypto';
import { Readable } from 'node:stream';

const chunkBytes = 64 * 1024;

export function pattern(bytes: number, seed: string): Readable {
  const key = createHash('sha256').update(seed).digest();
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  const zeros = Buffer.alloc(chunkBytes);
  let left = bytes;
  return new Readable({
    highWaterMark: 1024 * 1024,
    read() {
      const size = Math.min(left, chunkBytes);
      left -= size;
      this.push(size === 0 ? null : cipher.update(zeros.subarray(0, size)));
    },
  });
}

export async function digestOf(bytes: number, seed: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of pattern(bytes, seed)) hash.update(chunk);
  return hash.digest('hex');
}
