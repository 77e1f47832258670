/**
 * Readers of the proto3 JSON form: each takes what JSON or YAML gave, says what is wrong with it and where, and knows its
 * JSON Schema, so that the two cannot drift apart.
 */

export type Path = readonly (string | number)[];

/** Something that makes a resource unusable. */
export interface Problem {
  /** From the resource, in the words of the document. */
  readonly path: Path;
  /** Without the path. */
  readonly message: string;
}

export type JsonSchema = Readonly<Record<string, unknown>>;

export interface Decoder<T> {
  readonly schema: JsonSchema;
  /** The value, or `undefined` after it has told every problem. `null` never gets here: it means the default. */
  decode(value: unknown, path: Path, problems: Problem[]): T | undefined;
}

type Decoded<D> = D extends Decoder<infer T> ? T : never;

/** Tells one problem; the result fits wherever a decoder gives up. */
export function fail(problems: Problem[], path: Path, message: string): undefined {
  problems.push(Object.freeze({ path: Object.freeze([...path]), message }));
  return undefined;
}

/** `rules[0].clauses[1].matches`. */
export function formatPath(path: Path): string {
  return path
    .map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`))
    .join('');
}

const longestQuote = 60;

/** What was given, as an operator would recognise it. */
export function quote(value: unknown): string {
  const kind = Array.isArray(value)
    ? 'a list'
    : value !== null && typeof value === 'object'
      ? 'a map'
      : undefined;
  if (kind !== undefined) {
    return kind;
  }
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > longestQuote ? `${text.slice(0, longestQuote)}…` : text;
}

/** Text; `check` turns it into what it means or says what was expected. */
export function text<T = string>(
  expected: string,
  check: (given: string) => T | undefined,
  schema: JsonSchema = {},
): Decoder<T> {
  return {
    schema: { type: 'string', ...schema },
    decode(value, path, problems) {
      if (typeof value !== 'string') {
        const hint = typeof value === 'number' || typeof value === 'boolean' ? '; put it in quotes' : '';
        return fail(problems, path, `expected ${expected}, got ${quote(value)}${hint}`);
      }
      return check(value) ?? fail(problems, path, `expected ${expected}, got ${quote(value)}`);
    },
  };
}

export const anyText: Decoder<string> = text('text', (given) => given);

export const flag: Decoder<boolean> = {
  schema: { type: 'boolean' },
  decode(value, path, problems) {
    return typeof value === 'boolean'
      ? value
      : fail(problems, path, `expected true or false, got ${quote(value)}`);
  },
};

/** A whole number; proto3 JSON lets it stand in quotes. */
export function integer(least: number, most: number): Decoder<number> {
  return {
    schema: {
      anyOf: [
        { type: 'integer', minimum: least, maximum: most },
        { type: 'string', pattern: '^[0-9]+$' },
      ],
    },
    decode(value, path, problems) {
      const number = typeof value === 'string' && /^\d{1,10}$/.test(value) ? Number(value) : value;
      const isWithin = Number.isInteger(number) && Number(number) >= least && Number(number) <= most;
      const expected = `expected a whole number from ${least} to ${most}`;
      return isWithin ? Number(number) : fail(problems, path, `${expected}, got ${quote(value)}`);
    },
  };
}

/** A value of an enum, by name or by number; `names` stand in the order of their numbers. */
export function enumeration<const T extends string>(
  names: readonly T[],
  refused: readonly T[] = [],
): Decoder<T> {
  const usable = names.filter((name) => !refused.includes(name));
  return {
    schema: { enum: usable.flatMap((name) => [name, names.indexOf(name)]) },
    decode(value, path, problems) {
      const name = typeof value === 'number' ? names[value] : names.find((each) => each === value);
      return name !== undefined && usable.includes(name)
        ? name
        : fail(problems, path, `expected one of ${usable.join(', ')}, got ${quote(value)}`);
    },
  };
}

/** A list, frozen. Every item is checked before it gives up. */
export function list<T>(item: Decoder<T>): Decoder<readonly T[]> {
  return {
    schema: { type: 'array', items: item.schema },
    decode(value, path, problems) {
      if (!Array.isArray(value)) {
        return fail(problems, path, `expected a list, got ${quote(value)}`);
      }
      const before = problems.length;
      const items = value.map((each, index) => item.decode(each, [...path, index], problems));
      return problems.length > before ? undefined : (Object.freeze(items) as readonly T[]);
    },
  };
}

/** A map with free keys, as frozen entries in the order of the document. */
export function entries<T>(
  checkKey: (key: string) => string | undefined,
  item: Decoder<T>,
): Decoder<readonly (readonly [string, T])[]> {
  return {
    schema: { type: 'object', additionalProperties: item.schema },
    decode(value, path, problems) {
      if (!isMap(value)) {
        return fail(problems, path, `expected a map, got ${quote(value)}`);
      }
      const before = problems.length;
      const found = Object.entries(value).map(([key, each]) => {
        const wrong = checkKey(key);
        return wrong === undefined
          ? ([key, item.decode(each, [...path, key], problems)] as const)
          : fail(problems, [...path, key], wrong);
      });
      return problems.length > before
        ? undefined
        : (Object.freeze(found) as readonly (readonly [string, T])[]);
    },
  };
}

export type FieldDecoders = Readonly<Record<string, Decoder<unknown>>>;

/** What was given of a message's fields; absent ones and those that are `null` are left out. */
export type Given<Fields extends FieldDecoders> = { readonly [Name in keyof Fields]?: Decoded<Fields[Name]> };

export interface MessageOptions<Fields extends FieldDecoders> {
  /** Name in the schema's definitions. */
  readonly name: string;
  /** Fields that must be given and not be empty. */
  readonly required?: readonly (keyof Fields & string)[];
  readonly description?: string;
}

/**
 * A message: fields by their JSON name or their name in the .proto, unknown ones are mistakes. `build` makes the value of
 * what was given; it may find further mistakes, told with the field's JSON name.
 */
export function message<Fields extends FieldDecoders, T>(
  fields: Fields,
  options: MessageOptions<Fields>,
  build: (
    given: Given<Fields>,
    wrong: (field: keyof Fields & string, message: string) => undefined,
  ) => T | undefined,
): Decoder<T> {
  const names = new Map(
    Object.keys(fields).flatMap((name) => [[name, name] as const, [snakeCase(name), name] as const]),
  );
  return {
    schema: messageSchema(fields, options),
    decode(value, path, problems) {
      if (!isMap(value)) {
        return fail(problems, path, `expected a map, got ${quote(value)}`);
      }
      const before = problems.length;
      const spelling = spellingOf(names, value, path, problems);
      const given = decodeFields(fields, value, spelling, path, problems);
      for (const name of options.required ?? []) {
        if (!spelling.has(name) || value[spelling.get(name) ?? ''] === '') {
          fail(problems, [...path, name], 'is missing');
        }
      }
      if (problems.length > before) {
        return undefined;
      }
      const wrong = (name: string, why: string) => fail(problems, [...path, spelling.get(name) ?? name], why);
      const built = build(given, wrong);
      return problems.length > before ? undefined : built;
    },
  };
}

function decodeFields<Fields extends FieldDecoders>(
  fields: Fields,
  value: Readonly<Record<string, unknown>>,
  spelling: ReadonlyMap<string, string>,
  path: Path,
  problems: Problem[],
): Given<Fields> {
  const given: Record<string, unknown> = {};
  for (const [name, spelled] of spelling) {
    given[name] = fields[name]?.decode(value[spelled], [...path, spelled], problems);
  }
  return given as Given<Fields>;
}

/** JSON name of each field that was given -> how the document spells it. */
function spellingOf(
  names: ReadonlyMap<string, string>,
  value: Readonly<Record<string, unknown>>,
  path: Path,
  problems: Problem[],
): ReadonlyMap<string, string> {
  const spelling = new Map<string, string>();
  for (const [spelled, each] of Object.entries(value)) {
    const name = names.get(spelled);
    if (name === undefined) {
      fail(
        problems,
        [...path, spelled],
        `is not a field here; known are ${[...new Set(names.values())].join(', ')}`,
      );
    } else if (spelling.has(name)) {
      fail(problems, [...path, spelled], `is given already, as ${spelling.get(name)}`);
    } else if (each !== null && each !== undefined) {
      spelling.set(name, spelled);
    }
  }
  return spelling;
}

function messageSchema<Fields extends FieldDecoders>(
  fields: Fields,
  options: MessageOptions<Fields>,
): JsonSchema {
  const properties = Object.entries(fields).flatMap(([name, { schema }]) =>
    [...new Set([name, snakeCase(name)])].map(
      (spelled) => [spelled, { anyOf: [schema, { type: 'null' }] }] as const,
    ),
  );
  const { name: title, description } = options;
  return {
    title,
    ...(description === undefined ? {} : { description }),
    type: 'object',
    properties: Object.fromEntries(properties),
    additionalProperties: false,
    ...requiredSchema(options.required ?? []),
  };
}

/** A required field may be spelled either way. */
function requiredSchema(required: readonly string[]): JsonSchema {
  const plain = required.filter((name) => snakeCase(name) === name);
  const either = required.filter((name) => snakeCase(name) !== name);
  return {
    ...(plain.length === 0 ? {} : { required: plain }),
    ...(either.length === 0
      ? {}
      : {
          allOf: either.map((name) => ({ anyOf: [{ required: [name] }, { required: [snakeCase(name)] }] })),
        }),
  };
}

export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
