/**
 * What a request costs, before anything is made of it: its fields are counted where they lie. A message of a few megabytes can
 * hold a million empty names.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { HadalError } from '../base/errors.ts';

export interface RequestLimits {
  /** Names and versions in a request. */
  readonly requestNames: number;
  /** Bytes of a name with its version, or of any other field that is not a name. */
  readonly nameBytes: number;
  readonly fieldBytes: number;
}

/** Fields of DeltaDiscoveryRequest that come more than once: names to subscribe, to unsubscribe, and versions. */
const repeatedFields: readonly number[] = [3, 4, 5];
/** Of its error the text alone is used, and that is cut. */
const errorDetailField = 7;
/** A request has four fields besides; what more there is, a later version may have added. */
const mostOtherFields = 32;

/** How many names it holds. Throws ERR_XDS_LIMIT that says which bound is passed, or ERR_XDS_REQUEST for what is no message. */
export function namesIn(bytes: Uint8Array, limits: RequestLimits): number {
  let names = 0;
  let others = 0;
  const reader = new BinaryReader(bytes);
  try {
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      const start = reader.pos;
      reader.skip(type);
      const length = reader.pos - start;
      if (type === WireType.LengthDelimited && repeatedFields.includes(field)) {
        names += 1;
        if (length > limits.nameBytes) throw over(`a name has more than ${limits.nameBytes} bytes`);
        if (names > limits.requestNames) throw over(`a request has more than ${limits.requestNames} names`);
        continue;
      }
      others += 1;
      if (others > mostOtherFields) throw over(`a request has more than ${mostOtherFields} other fields`);
      if (field !== errorDetailField && length > limits.fieldBytes)
        throw over(`field ${field} of a request has more than ${limits.fieldBytes} bytes`);
    }
  } catch (caught) {
    throw HadalError.from(caught, 'ERR_XDS_REQUEST', 'reading a request');
  }
  return names;
}

function over(why: string): HadalError<'ERR_XDS_LIMIT'> {
  return new HadalError('ERR_XDS_LIMIT', why);
}
