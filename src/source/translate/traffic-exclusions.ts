/** Istio's sidecar annotations that take ports and ranges out of a pod's capture. */
import {
  createTrafficExclusions,
  mostExclusions,
  type ParsedList,
  parsePortList,
  parseRangeList,
  type TrafficExclusions,
} from '../../model/traffic-exclusions.ts';
import type { PodObject } from '../kubernetes/pod.ts';
import { annotationField, exclusionAnnotations as names } from './label-names.ts';
import { type TranslationWarning, warning } from './resources.ts';

/** Undefined: the pod has none of these annotations, or none that can be read. */
export interface PodExclusions {
  readonly exclusions: TrafficExclusions | undefined;
  readonly warnings: readonly TranslationWarning[];
}

type Fields = { -readonly [K in keyof TrafficExclusions]?: TrafficExclusions[K] };

/**
 * What cannot be read leaves more under the mesh, never less: of an excluding list the wrong words are left out, an including
 * list with a wrong word counts as missing, which captures everything.
 */
export function podExclusions(pod: PodObject): PodExclusions {
  const own = pod.metadata.annotations;
  const warnings: TranslationWarning[] = [];
  const warn = (annotation: string, reason: string) => {
    warnings.push(warning(pod, annotationField(annotation), reason));
  };
  const fields: Fields = {};
  const excluded = <T>(annotation: string, parse: (text: string) => ParsedList<T>, what: string) =>
    readExcluded(own[annotation], parse, what, (reason) => warn(annotation, reason));
  const included = <T>(annotation: string, parse: (text: string) => ParsedList<T>, what: string) =>
    readIncluded(own[annotation], parse, what, (reason) => warn(annotation, reason));
  const port = 'a port is a number from 1 to 65535';
  const range = 'a range is written as 10.0.0.0/8 or fd00::/8';

  fields.excludeOutboundPorts = excluded(names.excludeOutboundPorts, parsePortList, port);
  fields.excludeOutboundRanges = excluded(names.excludeOutboundRanges, parseRangeList, range);
  fields.excludeInboundPorts = excluded(names.excludeInboundPorts, parsePortList, port);
  fields.includeOutboundRanges = included(names.includeOutboundRanges, parseRangeList, range);
  fields.includeInboundPorts = included(names.includeInboundPorts, parsePortList, port);
  const ports = included(names.includeOutboundPorts, parsePortList, port);
  const wishesPorts = own[names.includeOutboundPorts] !== undefined;
  if (wishesPorts && ports === undefined) fields.includeOutboundRanges = undefined;
  fields.includeOutboundPorts = ports ?? [];
  if (wishesPorts && ports !== undefined && fields.includeOutboundRanges === undefined) {
    const reason = `says nothing where ${names.includeOutboundRanges} names no ranges: every port is captured`;
    warn(names.includeOutboundPorts, reason);
  }
  if (fields.includeInboundPorts !== undefined && fields.excludeInboundPorts.length > 0) {
    warn(names.excludeInboundPorts, `says nothing beside ${names.includeInboundPorts}`);
  }
  const hasAny = Object.values(names).some((name) => own[name] !== undefined);
  return Object.freeze({
    exclusions: hasAny ? createTrafficExclusions(fields) : undefined,
    warnings: Object.freeze(warnings),
  });
}

type Warn = (reason: string) => void;

function readExcluded<T>(
  text: string | undefined,
  parse: (text: string) => ParsedList<T>,
  what: string,
  warn: Warn,
): readonly T[] {
  if (text === undefined) return [];
  const { all, values, wrong } = parse(text);
  if (all) warn(`is "*"; ${what}, and an asterisk excludes nothing here`);
  for (const word of wrong) warn(`names "${word}"; ${what}, and it is left out`);
  if (values.length > mostExclusions) warn(tooMany(values.length, 'the rest is captured'));
  return values.slice(0, mostExclusions);
}

/** Undefined: everything. */
function readIncluded<T>(
  text: string | undefined,
  parse: (text: string) => ParsedList<T>,
  what: string,
  warn: Warn,
): readonly T[] | undefined {
  if (text === undefined) return undefined;
  const { all, values, wrong } = parse(text);
  if (all) return undefined;
  if (wrong.length > 0) {
    warn(`names "${wrong[0]}"; ${what}. The annotation counts as missing: everything is captured`);
    return undefined;
  }
  if (values.length <= mostExclusions) return values;
  warn(tooMany(values.length, 'the annotation counts as missing: everything is captured'));
  return undefined;
}

function tooMany(count: number, then: string): string {
  return `has ${count} entries, of which ${mostExclusions} at most are taken; ${then}`;
}
