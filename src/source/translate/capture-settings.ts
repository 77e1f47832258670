import type { TrafficExclusions } from '../../model/traffic-exclusions.ts';
import type { PodObject } from '../kubernetes/pod.ts';
import { annotationField, annotations } from './label-names.ts';
import { type TranslationWarning, warning } from './resources.ts';
import { podExclusions } from './traffic-exclusions.ts';

/** What a pod's annotations say of the way its traffic is captured; its agent's to honour. */
export interface PodCaptureSettings {
  /** Plain connections reach the application without the agent, and without policy. */
  readonly bypassInbound: boolean;
  /** Undefined: as the agent is set. */
  readonly captureDns: boolean | undefined;
  /** Interfaces in the pod whose traffic comes from a machine inside it, and is outbound. */
  readonly virtualInterfaces: readonly string[];
  /** Its connections to pods of the node that ask too may go past TCP, where its agent allows that. */
  readonly turbo: boolean;
  /** Undefined: nothing. */
  readonly exclusions: TrafficExclusions | undefined;
  readonly warnings: readonly TranslationWarning[];
}

/** A Linux interface name. */
const interfaceName = /^(?!\.{1,2}$|lo$)[!-.0-9;-~]{1,15}$/;

export function podCaptureSettings(pod: PodObject): PodCaptureSettings {
  const own = pod.metadata.annotations;
  const warnings: TranslationWarning[] = [];
  const flag = (annotation: string): boolean | undefined => {
    const text = own[annotation]?.toLowerCase();
    if (text === undefined || text === 'true' || text === 'false') {
      return text === undefined ? undefined : text === 'true';
    }
    warnings.push(
      warning(
        pod,
        annotationField(annotation),
        `is "${own[annotation]}"; true or false is meant, and it counts as missing`,
      ),
    );
    return undefined;
  };
  const turbo = own[annotations.turbo]?.toLowerCase() ?? 'disabled';
  if (turbo !== 'enabled' && turbo !== 'disabled') {
    warnings.push(
      warning(
        pod,
        annotationField(annotations.turbo),
        `is "${own[annotations.turbo]}"; enabled or disabled is meant, and it counts as missing`,
      ),
    );
  }
  const list = own[annotations.rerouteVirtualInterfaces] ?? own[annotations.kubevirtInterfaces] ?? '';
  const names = list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  for (const name of names.filter((each) => !interfaceName.test(each))) {
    warnings.push(
      warning(
        pod,
        annotationField(annotations.rerouteVirtualInterfaces),
        `names "${name}", which no interface can be called; it is left out`,
      ),
    );
  }
  const taken = podExclusions(pod);
  return Object.freeze({
    bypassInbound: flag(annotations.bypassInboundCapture) ?? false,
    captureDns: flag(annotations.dnsCapture),
    virtualInterfaces: Object.freeze([...new Set(names.filter((name) => interfaceName.test(name)))]),
    turbo: turbo === 'enabled',
    exclusions: taken.exclusions,
    warnings: Object.freeze([...warnings, ...taken.warnings]),
  });
}
