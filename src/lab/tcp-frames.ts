/** Messages over TCP have their length in front, and come in pieces or several at once. */
export function framed(message: Buffer): Buffer {
  const bytes = Buffer.alloc(2 + message.length);
  bytes.writeUInt16BE(message.length, 0);
  message.copy(bytes, 2);
  return bytes;
}

export class FrameReader {
  readonly #onMessage: (message: Buffer) => void;
  #pieces: Buffer[] = [];
  #length = 0;

  constructor(onMessage: (message: Buffer) => void) {
    this.#onMessage = onMessage;
  }

  push(bytes: Buffer): void {
    this.#pieces.push(bytes);
    this.#length += bytes.length;
    if (this.#length < 2) return;
    let all = this.#joined();
    while (all.length >= 2 && all.length >= 2 + all.readUInt16BE(0)) {
      const end = 2 + all.readUInt16BE(0);
      this.#onMessage(all.subarray(2, end));
      all = all.subarray(end);
    }
    this.#pieces = [all];
    this.#length = all.length;
  }

  /** One message is at most 64 KiB, so joining its pieces again and again stays small. */
  #joined(): Buffer {
    const [first] = this.#pieces;
    return this.#pieces.length === 1 && first !== undefined ? first : Buffer.concat(this.#pieces);
  }
}
