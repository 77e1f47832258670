// A vitest reporter: the counts of a run, each failed or skipped test by name with its reason, into build/tally/vitest.json.
import { keepTally } from './tally.js';

const firstLine = (error) => String(error?.message ?? error).split('\n', 1)[0];

export default class TallyReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: 0, skipped: 0, notes: [] };
    const fail = (what, error) => {
      counts.failed += 1;
      counts.notes.push(`failed: ${what}: ${firstLine(error)}`);
    };
    for (const error of unhandledErrors) fail('outside of any test', error);
    for (const module of modules) {
      // A file that does not even load has no tests, only errors.
      if (module.errors().length > 0) fail(module.relativeModuleId, module.errors()[0]);
      for (const test of module.children.allTests()) {
        const { state, note, errors } = test.result();
        if (state === 'passed') counts.passed += 1;
        else if (state === 'failed') fail(`${module.relativeModuleId} > ${test.fullName}`, errors[0]);
        else {
          counts.skipped += 1;
          counts.notes.push(`skipped: ${test.fullName}${note === undefined ? '' : `: ${note}`}`);
        }
      }
    }
    keepTally('vitest', counts);
  }
}
