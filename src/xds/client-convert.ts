/** The resources of a response, each converted or refused by itself. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { HadalError } from '../base/errors.ts';
import type { XdsClientOptions } from './client-options.ts';
import type { RawResource, RawResponse } from './client-stream.ts';
import type { Converted } from './client-subscription.ts';

export type Conversion = Pick<XdsClientOptions, 'convert' | 'refusing'>;

/** How long resources are converted before the event loop gets its turn. */
const sliceMs = 8;

export async function convertAll(
  { typeUrl, resources }: Pick<RawResponse, 'typeUrl' | 'resources'>,
  conversion: Conversion,
): Promise<Converted[]> {
  const converted: Converted[] = [];
  let until = performance.now() + sliceMs;
  for (const resource of resources) {
    converted.push(convertOne(typeUrl, resource, conversion));
    if (performance.now() < until) continue;
    await nextTurn();
    until = performance.now() + sliceMs;
  }
  return converted;
}

function convertOne(typeUrl: string, resource: RawResource, { convert, refusing }: Conversion): Converted {
  const { name, version } = resource;
  const refused = (reason: string): Converted => {
    return { name, version, reason, refusing: refusing(typeUrl, resource, reason) };
  };
  try {
    const { kind, name: own, value } = convert(typeUrl, resource);
    if (own === name) return { name, version, kind, value };
    return refused(`it is sent under this name, and its own is ${own}`);
  } catch (caught) {
    return refused(HadalError.from(caught, 'ERR_XDS_RESOURCE_REJECTED').message);
  }
}
