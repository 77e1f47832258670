import { describe, expect, it } from 'vitest';
import {
  defaultEnrolmentRules,
  type EnrolmentRules,
  enrolmentReport,
  enrolmentWish,
} from '../../../../src/source/translate/enrolment.ts';
import { mesh, namespace, pod, workloadOf } from './objects.ts';

const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const held = { 'ambient.istio.io/redirection': 'enabled' };
const rules = (changes: Partial<EnrolmentRules>): EnrolmentRules => ({
  ...defaultEnrolmentRules,
  ...changes,
});
const matching = (matchLabels: Record<string, string>) => ({ matchLabels, matchExpressions: [] });

describe('a pod is kept out', () => {
  it.each([
    ["in the host's network", { labels: ambient }, { hostNetwork: true }, 'host network'],
    [
      'with a sidecar',
      { labels: ambient, annotations: { 'sidecar.istio.io/status': '{}' } },
      {},
      'has a sidecar',
    ],
    ['in kube-system', { labels: ambient, namespace: 'kube-system' }, {}, 'excluded namespace'],
    [
      'that is ztunnel',
      { labels: { ...ambient, app: 'ztunnel' }, namespace: 'istio-system' },
      {},
      'proxy of the mesh',
    ],
    ['of the runtime class gvisor', { labels: ambient }, { runtimeClassName: 'gvisor' }, 'sandboxed runtime'],
    [
      'of the runtime class kata-qemu',
      { labels: ambient },
      { runtimeClassName: 'kata-qemu' },
      'sandboxed runtime',
    ],
  ])('%s, whatever its labels ask for', (_, metadata, spec, reason) => {
    expect(enrolmentWish(pod(metadata, spec), namespace(ambient))).toEqual({ wanted: false, reason });
    // And is never told to speak HBONE, whoever wrote the annotation.
    const annotations = { ...held, ...('annotations' in metadata ? metadata.annotations : {}) };
    expect(workloadOf(pod({ ...metadata, annotations }, spec)).tunnelProtocol).toBe('NONE');
  });

  it('in a namespace that the option excludes, and kube-system no longer when the option says so', () => {
    const own = rules({ excludedNamespaces: ['shop'] });
    expect(enrolmentWish(pod({ labels: ambient }), namespace(), own).reason).toBe('excluded namespace');
    expect(enrolmentWish(pod({ labels: ambient, namespace: 'kube-system' }), undefined, own).wanted).toBe(
      true,
    );
    const names = mesh({ enrolment: own });
    expect(workloadOf(pod({ labels: ambient, annotations: held }), [], names).tunnelProtocol).toBe('NONE');
  });

  it('not by a runtime class of another name, nor as a pod called ztunnel elsewhere', () => {
    expect(enrolmentWish(pod({ labels: ambient }, { runtimeClassName: 'katana' }), undefined).wanted).toBe(
      true,
    );
    expect(enrolmentWish(pod({ labels: { ...ambient, app: 'ztunnel' } }), undefined).wanted).toBe(true);
  });
});

describe('selectors of enrolment', () => {
  const team = rules({
    selectors: [{ podSelector: matching({ mesh: 'yes' }), namespaceSelector: matching({ team: 'shop' }) }],
  });

  it('take the place of the labels when they are configured', () => {
    const yes = pod({ labels: { mesh: 'yes' } });
    expect(enrolmentWish(yes, namespace({ team: 'shop' }), team)).toEqual({
      wanted: true,
      reason: 'selector',
    });
    expect(enrolmentWish(yes, namespace({ team: 'bank' }), team).wanted).toBe(false);
    expect(enrolmentWish(pod({ labels: ambient }), namespace({ team: 'shop' }), team).wanted).toBe(false);
  });

  it('that look at namespaces match none that is not known', () => {
    expect(enrolmentWish(pod({ labels: { mesh: 'yes' } }), undefined, team).wanted).toBe(false);
    const any = rules({ selectors: [{ namespaceSelector: matching({}) }] });
    expect(enrolmentWish(pod(), undefined, any).wanted).toBe(false);
    expect(enrolmentWish(pod(), namespace(), any).wanted).toBe(true);
  });

  it('are none, and nobody is in the mesh', () => {
    expect(enrolmentWish(pod({ labels: ambient }), namespace(ambient), rules({ selectors: [] })).wanted).toBe(
      false,
    );
  });
});

describe('the report of a pod', () => {
  it.each([
    ['enrolled', { labels: ambient, annotations: held }, {}, {}, 'enrolled', 'label'],
    ['held no longer wished for', { annotations: held }, {}, {}, 'leaving', 'neither it nor its namespace'],
    ['without a label', {}, {}, {}, 'outside', 'istio.io/dataplane-mode: ambient'],
    ['that no agent answered for', { labels: ambient }, {}, {}, 'waiting', 'node a has not answered'],
    [
      'that its agent could not hold',
      { labels: ambient, annotations: { 'ambient.istio.io/redirection': 'pending' } },
      {},
      {},
      'waiting',
      'did not succeed',
    ],
    ['without a node', { labels: ambient }, { nodeName: '' }, { podIPs: [] }, 'waiting', 'no node'],
    ['without an address', { labels: ambient }, {}, { podIPs: [] }, 'waiting', 'no address'],
    ['that ended', { labels: ambient, annotations: held }, {}, { phase: 'Succeeded' }, 'ended', 'ended'],
  ])('%s says so', (_, metadata, spec, status, state, words) => {
    const report = enrolmentReport(pod(metadata, spec, status), namespace());
    expect(report.state).toBe(state);
    expect(report.detail).toContain(words);
    expect(report).toMatchObject({ namespace: 'shop', pod: 'front-1' });
  });
});
