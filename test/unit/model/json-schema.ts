/** As much of JSON Schema as our schema uses; an unknown keyword is an error, so that nothing passes unchecked. */
export function schemaProblems(value: unknown, schema: unknown, root: unknown = schema, at = '$'): string[] {
  const problems: string[] = [];
  for (const [keyword, wanted] of Object.entries(schema as Record<string, unknown>)) {
    problems.push(
      ...(checks[keyword] ?? unknownKeyword(keyword))({ value, wanted, schema, root, at } as never),
    );
  }
  return problems;
}

interface Check {
  readonly value: unknown;
  readonly wanted: never;
  readonly schema: Record<string, never>;
  readonly root: { readonly $defs: Record<string, unknown> };
  readonly at: string;
}

const nothing = () => [];
const isMap = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

const checks: Record<string, (check: Check) => string[]> = {
  $schema: nothing,
  $defs: nothing,
  title: nothing,
  description: nothing,
  type: ({ value, wanted, at }) => (typeOf(value).includes(wanted) ? [] : [`${at} is no ${String(wanted)}`]),
  enum: ({ value, wanted, at }) =>
    (wanted as unknown[]).includes(value) ? [] : [`${at} is none of the choices`],
  minimum: ({ value, wanted, at }) =>
    typeof value !== 'number' || value >= wanted ? [] : [`${at} is too small`],
  maximum: ({ value, wanted, at }) =>
    typeof value !== 'number' || value <= wanted ? [] : [`${at} is too large`],
  pattern: ({ value, wanted, at }) =>
    typeof value !== 'string' || new RegExp(wanted, 'u').test(value) ? [] : [`${at} does not look right`],
  maxItems: ({ value, wanted, at }) =>
    !Array.isArray(value) || value.length <= wanted ? [] : [`${at} is too long`],
  items: ({ value, wanted, root, at }) =>
    Array.isArray(value)
      ? value.flatMap((each, index) => schemaProblems(each, wanted, root, `${at}[${index}]`))
      : [],
  required: ({ value, wanted, at }) =>
    isMap(value)
      ? (wanted as string[]).filter((name) => !(name in value)).map((name) => `${at}.${name} is missing`)
      : [],
  properties: ({ value, wanted, root, at }) =>
    isMap(value)
      ? Object.entries(wanted as Record<string, unknown>).flatMap(([name, each]) =>
          name in value ? schemaProblems(value[name], each, root, `${at}.${name}`) : [],
        )
      : [],
  additionalProperties: ({ value, wanted, schema, root, at }) => {
    if (!isMap(value)) return [];
    const extra = Object.keys(value).filter((name) => !Object.hasOwn(schema.properties ?? {}, name));
    if ((wanted as unknown) === false) return extra.map((name) => `${at}.${name} is unknown`);
    return extra.flatMap((name) => schemaProblems(value[name], wanted, root, `${at}.${name}`));
  },
  anyOf: ({ value, wanted, root, at }) => {
    const each = (wanted as unknown[]).map((choice) => schemaProblems(value, choice, root, at));
    return each.some((problems) => problems.length === 0) ? [] : (each[0] ?? []);
  },
  allOf: ({ value, wanted, root, at }) =>
    (wanted as unknown[]).flatMap((each) => schemaProblems(value, each, root, at)),
  $ref: ({ value, wanted, root, at }) =>
    schemaProblems(value, root.$defs[String(wanted).replace('#/$defs/', '')], root, at),
};

function unknownKeyword(keyword: string): () => string[] {
  throw new Error(`the schema uses ${keyword}, which this checker does not know`);
}

function typeOf(value: unknown): string[] {
  if (value === null) return ['null'];
  if (Array.isArray(value)) return ['array'];
  if (typeof value === 'number') return Number.isInteger(value) ? ['integer', 'number'] : ['number'];
  return [typeof value];
}
