/**
 * Resources of discovery as bytes, and back. Bytes come from elsewhere: whatever they are, the answer is a resource or the
 * reasons why there is none, by field. Of workloads and services fields that came later are passed over, as they only add; of
 * a policy nothing is, since what is not understood may be a condition.
 */
import { HadalError } from '../base/errors.ts';
import { type Authorization, policyKey } from '../model/authorization.ts';
import { type Service, serviceKey } from '../model/service.ts';
import type { MeshResources } from '../model/snapshot.ts';
import { authorizationMessage } from '../model/wire/authorization-message.ts';
import { type Decoder, fail, formatPath, type Problem } from '../model/wire/decoder.ts';
import { serviceMessage } from '../model/wire/service-message.ts';
import { workloadMessage } from '../model/wire/workload-message.ts';
import type { Workload } from '../model/workload.ts';
import * as policies from '../proto/authorization.gen.ts';
import * as mesh from '../proto/workload.gen.ts';
import { authorizationDocument, serviceDocument, workloadDocument } from './codec-document.ts';
import { authorizationToMessage, serviceToMessage, workloadToMessage } from './codec-message.ts';
import { addressType, authorizationType, workloadType } from './type-urls.ts';
import { tellUnknownFields } from './unknown-fields.ts';
import { messageBytes } from './wire-writer.ts';

/** A resource in the model's terms, under the name that its own fields give. */
export type DecodedResource = {
  readonly [Kind in keyof MeshResources]: {
    readonly kind: Kind;
    readonly name: string;
    readonly value: MeshResources[Kind][number];
  };
}[keyof MeshResources];

/** Why there is no resource; never empty. */
export interface Undecodable {
  readonly problems: readonly Problem[];
}

export function encodeWorkloadAddress(workload: Workload): Uint8Array {
  const type = { $case: 'workload', value: workloadToMessage(workload) } as const;
  return messageBytes(mesh.Address, { type });
}

export function encodeServiceAddress(service: Service): Uint8Array {
  const type = { $case: 'service', value: serviceToMessage(service) } as const;
  return messageBytes(mesh.Address, { type });
}

export function encodeAuthorization(policy: Authorization): Uint8Array {
  return messageBytes(policies.Authorization, authorizationToMessage(policy));
}

/** Never throws. */
export function decodeResource(typeUrl: string, bytes: Uint8Array): DecodedResource | Undecodable {
  const problems: Problem[] = [];
  const decoded = decode(typeUrl, bytes, problems);
  return decoded !== undefined && problems.length === 0 ? decoded : { problems };
}

/** What carries a resource in a response. */
export interface NamedBytes {
  readonly name: string;
  readonly resource: { readonly typeUrl: string; readonly value: Uint8Array } | undefined;
}

/**
 * The resource of a response of `typeUrl`. Throws ERR_XDS_RESOURCE_REJECTED with the reasons: fit for a NACK, in which the
 * name stands before it.
 */
export function convertResource(typeUrl: string, { name, resource }: NamedBytes): DecodedResource {
  if (resource === undefined) throw rejected('there is nothing under this name');
  if (resource.typeUrl !== typeUrl) throw rejected(`it is ${resource.typeUrl}, not ${typeUrl}`);
  const decoded = decodeResource(typeUrl, resource.value);
  if ('problems' in decoded) throw rejected(problemsText(decoded.problems));
  if (decoded.name !== name) throw rejected(`its own name is ${decoded.name}`);
  return decoded;
}

const problemsTold = 5;

/** `rules[0].clauses[1]: field number 9 is not understood, scope: expected ...`. */
export function problemsText(problems: readonly Problem[]): string {
  const told = problems
    .slice(0, problemsTold)
    .map(({ path, message }) => (path.length === 0 ? message : `${formatPath(path)}: ${message}`));
  const more = problems.length - told.length;
  return [...told, ...(more > 0 ? [`and ${more} more`] : [])].join(', ');
}

function decode(typeUrl: string, bytes: Uint8Array, problems: Problem[]): DecodedResource | undefined {
  switch (typeUrl) {
    case addressType: {
      const message = parse(mesh.Address, bytes, problems);
      if (message === undefined) return undefined;
      const { type } = message;
      if (type?.$case === 'workload') return readWorkload(type.value, problems);
      if (type?.$case === 'service') return readService(type.value, problems);
      return fail(problems, [], 'expected a workload or a service');
    }
    case workloadType: {
      const message = parse(mesh.Workload, bytes, problems);
      return message && readWorkload(message, problems);
    }
    case authorizationType: {
      const message = parse(policies.Authorization, bytes, problems);
      return message && readAuthorization(message, problems);
    }
    default:
      return fail(problems, [], `resources of type ${typeUrl} are not known here`);
  }
}

function parse<T>(
  type: { decode(bytes: Uint8Array): T },
  bytes: Uint8Array,
  problems: Problem[],
): T | undefined {
  try {
    return type.decode(bytes);
  } catch (caught) {
    return fail(problems, [], `its bytes cannot be read: ${(caught as Error).message}`);
  }
}

function readWorkload(message: mesh.Workload, problems: Problem[]): DecodedResource | undefined {
  const value = read(workloadMessage, workloadDocument(message), problems);
  if (value?.tunnelProtocol === 'LEGACY_ISTIO_MTLS') {
    return fail(problems, ['tunnelProtocol'], 'LEGACY_ISTIO_MTLS is not supported');
  }
  return value && { kind: 'workloads', name: value.uid, value };
}

function readService(message: mesh.Service, problems: Problem[]): DecodedResource | undefined {
  const value = read(serviceMessage, serviceDocument(message), problems);
  return value && { kind: 'services', name: serviceKey(value), value };
}

function readAuthorization(
  message: policies.Authorization,
  problems: Problem[],
): DecodedResource | undefined {
  tellUnknownFields(message, [], problems);
  const value = read(authorizationMessage, authorizationDocument(message), problems);
  return value && { kind: 'policies', name: policyKey(value), value };
}

function read<T>(decoder: Decoder<T>, document: unknown, problems: Problem[]): T | undefined {
  return decoder.decode(document, [], problems);
}

function rejected(why: string): HadalError<'ERR_XDS_RESOURCE_REJECTED'> {
  return new HadalError('ERR_XDS_RESOURCE_REJECTED', why);
}
