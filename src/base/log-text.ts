/** Turns pino's JSON lines into lines for people: `21:17:04.123 warn tunnel: peer sent GOAWAY peer=10.0.0.7`. */
export function textStream(destination: NodeJS.WritableStream): { write(line: string): void } {
  return {
    write(line) {
      destination.write(`${formatLogLine(line)}\n`);
    },
  };
}

export function formatLogLine(line: string): string {
  const { time, level, scope, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const head = `${clock(time)} ${String(level).padEnd(5)} ${scope === undefined ? '' : `${String(scope)}: `}${String(msg ?? '')}`;
  const words = Object.entries(fields).map(([name, value]) => `${name}=${word(value)}`);
  return [head, ...words, ...errorLines(err)].join(' ');
}

function clock(time: unknown): string {
  return String(time).slice(11, 23);
}

function word(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /[\s"=]/.test(text) && typeof value === 'string' ? JSON.stringify(value) : text;
}

function errorLines(err: unknown): string[] {
  if (err === undefined || err === null) return [];
  const { code, message, stack } = err as Record<string, unknown>;
  const trace = code === 'ERR_INTERNAL' && typeof stack === 'string' ? `\n${stack}` : '';
  return [`error=${word(`${String(code)}: ${String(message)}`)}${trace}`];
}
