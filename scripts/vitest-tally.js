// A vitest reporter: the counts of a run, each skipped test by name with its reason, into build/tally/vitest.json.
import { keepTally } from './tally.js';

export default class TallyReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0, notes: [] };
    for (const module of modules) {
      // A file that does not even load has no tests, only errors.
      if (module.errors().length > 0) counts.failed += 1;
      for (const test of module.children.allTests()) {
        const { state, note } = test.result();
        if (state === 'passed') counts.passed += 1;
        else if (state === 'failed') counts.failed += 1;
        else {
          counts.skipped += 1;
          counts.notes.push(`skipped: ${test.fullName}${note === undefined ? '' : `: ${note}`}`);
        }
      }
    }
    keepTally('vitest', counts);
  }
}
