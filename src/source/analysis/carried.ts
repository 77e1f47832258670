/** What agents do not carry: pods that cannot be held, and protocols that are not TCP. */
import { enrolmentReport, enrolmentWish } from '../translate/enrolment.ts';
import { labelField, labels } from '../translate/label-names.ts';
import { type Analysed, type Finding, finding, writtenOf } from './finding.ts';
import { isWanted, selectables, selected } from './workloads.ts';

export function checkCarried(analysed: Analysed): Finding[] {
  return [...pods(analysed), ...services(analysed)];
}

/** Asked for by a label, and out for another reason. */
function pods({ set, view }: Analysed): Finding[] {
  return writtenOf(set, 'Pod').flatMap((written) => {
    const pod = written.object;
    const namespace = view.get('Namespace', '', pod.metadata.namespace);
    const own = pod.metadata.labels[labels.dataplaneMode];
    const isAsked =
      own === 'ambient' || (own !== 'none' && namespace?.metadata.labels[labels.dataplaneMode] === 'ambient');
    const { wanted, reason } = enrolmentWish(pod, namespace);
    if (wanted || !isAsked || reason === 'opted out by label' || reason === 'no label') return [];
    const field =
      reason === 'sandboxed runtime'
        ? 'spec.runtimeClassName'
        : reason === 'host network'
          ? 'spec.hostNetwork'
          : '';
    const { detail } = enrolmentReport(pod, namespace);
    const message = `is not in the mesh although a label asks for it: ${detail}`;
    return [finding('warning', 'not-captured', written, field || labelField(labels.dataplaneMode), message)];
  });
}

function services(analysed: Analysed): Finding[] {
  return writtenOf(analysed.set, 'Service').flatMap((written) => {
    const { metadata, spec } = written.object;
    if (spec.ports.length === 0 || spec.ports.some(({ protocol }) => protocol === 'TCP')) return [];
    const meshed = selected(selectables(analysed, metadata.namespace), spec.selector).some(
      ({ pod }) => pod !== undefined && isWanted(analysed, pod),
    );
    if (!meshed || Object.keys(spec.selector).length === 0) return [];
    const protocols = [...new Set(spec.ports.map(({ protocol }) => protocol))].join(' and ');
    const message = `has only ${protocols} ports; agents carry TCP, so its traffic goes past the mesh, without encryption and policy`;
    return [finding('warning', 'udp-only', written, 'spec.ports', message)];
  });
}
