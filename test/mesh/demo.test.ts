import { describe, expect, it } from 'vitest';
import { plainPaint } from '../../src/lab/demo/report.ts';
import { runDemo } from '../../src/lab/demo/run.ts';
import { labName, whyNoLab } from './world.ts';

async function demo(
  agentEnv: Record<string, string> = {},
): Promise<{ status: number; report: string; progress: string[] }> {
  let report = '';
  const progress: string[] = [];
  const status = await runDemo({
    keep: false,
    name: labName(),
    out: (text) => {
      report += text;
    },
    say: (line) => progress.push(line),
    paint: plainPaint,
    interrupted: new Promise(() => {}),
    agentEnv,
  });
  return { status, report, progress };
}

describe.skipIf(whyNoLab !== undefined)('the demo', () => {
  it('ends with 0 and a report of what it proved', { timeout: 120_000 }, async () => {
    const { status, report, progress } = await demo();
    expect(report).toContain('No plaintext of meshed pods crossed the nodes');
    expect(report).toMatch(/front → catalog +tunnel +400 /);
    expect(report).toMatch(/reviews → publisher +untouched +400 /);
    expect(report).toContain('found in the clear: 0 of 12');
    expect(report).toContain('found in the same capture: 8 of 8');
    expect(report).toContain('The server showed TLSv1.3 and spiffe://cluster.local/ns/shop/sa/catalog');
    expect(progress.join('\n')).toContain('pod shop/front joined the mesh');
    expect(status).toBe(0);
  });

  it('fails when tunnels go in the clear, since the capture shows it', { timeout: 120_000 }, async () => {
    const { status, report } = await demo({ HADAL_TEST_PLAINTEXT_TUNNELS: '1' });
    expect(status).toBe(1);
    expect(report).toContain('found in the clear: 8 of 12');
    // 200, and what TCP sent again on a busy machine.
    expect(report).toMatch(
      /the ask of front>catalog over IPv4 crossed the fabric in the clear \(2\d\d times\)/,
    );
    expect(report).toMatch(
      /the answer of visitor>front over IPv6 crossed the fabric in the clear \(2\d\d times\)/,
    );
  });
});
