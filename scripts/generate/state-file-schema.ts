// docs/state-file.schema.json from the readers of the messages: each message once, under its name.
import { authorizationMessage } from '../../src/model/wire/authorization-message.ts';
import type { JsonSchema } from '../../src/model/wire/decoder.ts';
import { serviceMessage } from '../../src/model/wire/service-message.ts';
import { workloadMessage } from '../../src/model/wire/workload-message.ts';
import type { GeneratedFile } from './main.ts';

export function stateFileSchemaFile(): GeneratedFile {
  const content = `${JSON.stringify(stateFileSchema(), undefined, 2)}\n`;
  return { path: 'docs/state-file.schema.json', content };
}

export function stateFileSchema(): JsonSchema {
  const definitions: Record<string, unknown> = {};
  const listOf = (schema: JsonSchema) => ({
    anyOf: [{ type: 'array', items: hoist(schema, definitions) }, { type: 'null' }],
  });
  const properties = {
    workloads: listOf(workloadMessage.schema),
    services: listOf(serviceMessage.schema),
    policies: listOf(authorizationMessage.schema),
  };
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Mesh state of Hadal',
    description:
      'Workloads, services and policies in the proto3 JSON form of istio.workload and istio.security.Authorization, ' +
      'addresses as text. Fields may be written as in JSON or as in the .proto.',
    type: 'object',
    properties,
    additionalProperties: false,
    $defs: Object.fromEntries(
      Object.entries(definitions).toSorted(([left], [right]) => (left < right ? -1 : 1)),
    ),
  };
}

/** Replaces every titled schema by a reference and collects it. */
function hoist(schema: unknown, definitions: Record<string, unknown>): unknown {
  if (Array.isArray(schema)) {
    return schema.map((each) => hoist(each, definitions));
  }
  if (schema === null || typeof schema !== 'object') {
    return schema;
  }
  const copy = Object.fromEntries(
    Object.entries(schema).map(([key, each]) => [key, hoist(each, definitions)]),
  );
  const { title } = copy;
  if (typeof title !== 'string') {
    return copy;
  }
  const known = definitions[title];
  if (known !== undefined && JSON.stringify(known) !== JSON.stringify(copy)) {
    throw new Error(`two different messages are called ${title}`);
  }
  definitions[title] = copy;
  return { $ref: `#/$defs/${title}` };
}
