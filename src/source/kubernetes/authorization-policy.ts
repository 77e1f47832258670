/** `security.istio.io` AuthorizationPolicy, as strict as its own admission checks are. */
import { z } from 'zod';
import { parseCidr } from '../../model/cidr.ts';
import { metadata } from './metadata.ts';
import { list, securityVersion, targetReference, workloadSelector } from './policy-parts.ts';

const text = z.string({ error: 'must be text; quote it, as in "80"' }).min(1, 'is empty text');
const texts = list(text);

const ipBlocks = list(
  text.refine((block) => parseCidr(block) !== undefined, 'is no address or range, as in "10.0.0.0/8"'),
);

const portPattern = /^[1-9]\d{0,4}$/;

/** As they are written there: `"80"`. */
const portText = text.refine(
  (port) => portPattern.test(port) && Number(port) <= 65_535,
  'is no port: a number from 1 to 65535 in quotes',
);
const ports = list(portText);

/** `account`, of the policy's own namespace, or `namespace/account`. */
const serviceAccounts = list(
  text.regex(/^(?:[^/*]+\/)?[^/*]+$/, 'must be "account" or "namespace/account", without wildcards'),
);

const source = z
  .strictObject({
    principals: texts,
    notPrincipals: texts,
    requestPrincipals: texts,
    notRequestPrincipals: texts,
    namespaces: texts,
    notNamespaces: texts,
    serviceAccounts,
    notServiceAccounts: serviceAccounts,
    ipBlocks,
    notIpBlocks: ipBlocks,
    remoteIpBlocks: ipBlocks,
    notRemoteIpBlocks: ipBlocks,
  })
  .refine(namesSomething, 'names no source: give one of its fields, or leave out "from" for any source')
  .refine(
    ({ serviceAccounts: accounts, principals, namespaces }) =>
      accounts.length === 0 || (principals.length === 0 && namespaces.length === 0),
    'serviceAccounts cannot stand beside principals or namespaces',
  )
  .refine(
    ({ notServiceAccounts: accounts, notPrincipals, notNamespaces }) =>
      accounts.length === 0 || (notPrincipals.length === 0 && notNamespaces.length === 0),
    'notServiceAccounts cannot stand beside notPrincipals or notNamespaces',
  );

const operation = z
  .strictObject({
    hosts: texts,
    notHosts: texts,
    ports,
    notPorts: ports,
    methods: texts,
    notMethods: texts,
    paths: texts,
    notPaths: texts,
  })
  .refine(namesSomething, 'names no operation: give one of its fields, or leave out "to" for any operation');

const condition = z
  .strictObject({ key: text, values: texts, notValues: texts })
  .refine(({ values, notValues }) => values.length + notValues.length > 0, 'has neither values nor notValues')
  .superRefine(({ key, values, notValues }, context) => {
    const schema = key === 'destination.port' ? ports : isAddressKey(key) ? ipBlocks : texts;
    for (const [field, given] of Object.entries({ values, notValues })) {
      for (const { path, message } of schema.safeParse(given).error?.issues ?? []) {
        context.addIssue({ code: 'custom', path: [field, ...path], message });
      }
    }
  });

const isAddressKey = (key: string) => key === 'source.ip' || key === 'destination.ip' || key === 'remote.ip';

const alternatives = <T extends z.ZodType>(item: T) =>
  z
    .array(item)
    .min(1, 'is an empty list: give an alternative, or leave it out for any')
    .nullish()
    .transform((items) => items ?? undefined);

const rule = z.strictObject({
  /** Undefined for anybody. */
  from: alternatives(z.strictObject({ source })),
  to: alternatives(z.strictObject({ operation })),
  when: list(condition),
});

const spec = z
  .strictObject({
    selector: workloadSelector,
    targetRef: targetReference.nullish(),
    targetRefs: list(targetReference),
    action: z.enum(['ALLOW', 'DENY', 'AUDIT', 'CUSTOM']).default('ALLOW'),
    provider: z.strictObject({ name: z.string() }).nullish(),
    rules: list(rule),
  })
  .refine(
    ({ selector, targetRef, targetRefs }) =>
      Object.keys(selector.matchLabels).length === 0 || (!targetRef && targetRefs.length === 0),
    'has a selector and targetRefs: only one of the two',
  )
  .transform(({ targetRef, targetRefs, ...rest }) => ({
    ...rest,
    targetRefs: targetRef ? [targetRef, ...targetRefs] : targetRefs,
  }));

export const authorizationPolicyObject = z.object({
  apiVersion: securityVersion,
  kind: z.literal('AuthorizationPolicy'),
  metadata,
  // An absent spec is the empty one, which allows nothing.
  spec: spec.nullish().transform((given) => given ?? spec.parse({})),
});

export type AuthorizationPolicyObject = z.infer<typeof authorizationPolicyObject>;
export type PolicyRule = z.infer<typeof rule>;
export type PolicySource = z.infer<typeof source>;
export type PolicyOperation = z.infer<typeof operation>;
export type PolicyCondition = z.infer<typeof condition>;

function namesSomething(fields: Readonly<Record<string, readonly unknown[]>>): boolean {
  return Object.values(fields).some((values) => values.length > 0);
}
