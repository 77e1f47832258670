import { logLevels } from '../base/logger.ts';
import { option } from './option.ts';
import * as parse from './parsers.ts';

export const logOptions = {
  logLevel: option({
    env: 'HADAL_LOG_LEVEL',
    group: 'Logs',
    parse: parse.oneOf(...logLevels),
    default: 'info',
    unit: logLevels.join(', '),
    doc: 'What is logged; the admin server changes it while the process runs, also for one part.',
  }),
  logFormat: option({
    env: 'HADAL_LOG_FORMAT',
    group: 'Logs',
    parse: parse.oneOf('auto', 'text', 'json'),
    default: 'auto',
    unit: 'auto, text or json',
    doc: '`auto`: text on a terminal, else one JSON object a line.',
  }),
} as const;
