import { fail, type Path, type Problem } from '../model/wire/decoder.ts';

/**
 * Tells every field of a message, and of the messages in it, that its .proto does not have: numbers that came later, and
 * known numbers with another type on the wire. Generated decoders keep both under `_unknownFields`, by tag.
 */
export function tellUnknownFields(message: unknown, path: Path, problems: Problem[]): void {
  if (message === null || typeof message !== 'object' || message instanceof Uint8Array) return;
  if (Array.isArray(message)) {
    for (const [index, item] of message.entries()) tellUnknownFields(item, [...path, index], problems);
    return;
  }
  for (const [name, value] of Object.entries(message)) {
    if (name === '_unknownFields') tellFields(value as Record<string, unknown>, path, problems);
    // Of `oneof` the generated code makes `{$case, value}`.
    else tellUnknownFields(value, name === 'value' && '$case' in message ? path : [...path, name], problems);
  }
}

function tellFields(fields: Readonly<Record<string, unknown>>, path: Path, problems: Problem[]): void {
  for (const tag of Object.keys(fields)) {
    fail(problems, path, `field number ${Number(tag) >>> 3} is not understood`);
  }
}
