// GoogleTest's JSON report into a tally: `tally-gtest.js REPORT NAME EXIT_STATUS`. A run that ended without a report, or with
// an error that no test has (a sanitizer's), is one more failure.
import { existsSync, readFileSync } from 'node:fs';
import { keepTally } from './tally.js';

const [report, name, status] = process.argv.slice(2);
const counts = { passed: 0, failed: 0, skipped: 0, notes: [] };
if (existsSync(report)) {
  for (const { name: suite, testsuite } of JSON.parse(readFileSync(report, 'utf8')).testsuites) {
    for (const test of testsuite) {
      if ((test.failures ?? []).length > 0) {
        counts.failed += 1;
        counts.notes.push(`failed: ${name}: ${suite}.${test.name}`);
      } else if (test.result === 'SKIPPED') {
        counts.skipped += 1;
        counts.notes.push(`skipped: ${suite}.${test.name} (the output above says why)`);
      } else if (test.result === 'COMPLETED') counts.passed += 1;
    }
  }
}
if (status !== '0' && counts.failed === 0) {
  counts.failed += 1;
  counts.notes.push(`${name}: ended with status ${status} though no test failed`);
}
keepTally(name, counts);
