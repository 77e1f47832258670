import { BinaryWriter } from '@bufbuild/protobuf/wire';

/** One for all: a writer of its own for each message would cost more than the message. */
let writer = new BinaryWriter();

/** The bytes of a message, for those that are written by the thousand. */
export function messageBytes<T>(
  type: { encode(message: T, writer: BinaryWriter): BinaryWriter },
  message: T,
): Uint8Array {
  try {
    return type.encode(message, writer).finish();
  } catch (caught) {
    // It holds half a message.
    writer = new BinaryWriter();
    throw caught;
  }
}
