/** Text of a manifest file into its documents. YAML is a superset of JSON, so one reader serves both. */
import { LineCounter, parseAllDocuments } from 'yaml';
import type { RawDocument, Rejection } from '../kubernetes/objects.ts';

export interface FileDocuments {
  readonly documents: readonly RawDocument[];
  /** Syntax errors. With any, `documents` is empty: half a file says something else than the whole. */
  readonly rejections: readonly Rejection[];
}

/** Aliases in a manifest are few; a "billion laughs" file has many. */
const maxAliases = 100;

export function readDocuments(file: string, text: string): FileDocuments {
  return readJson(file, text) ?? readYaml(file, text);
}

/** A file that is JSON is read many times faster as such; one with a mistake is left to the reader who can say where. */
function readJson(file: string, text: string): FileDocuments | undefined {
  if (!file.endsWith('.json')) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    const origin = { file, document: 1, line: 1 };
    const documents = value === null ? [] : listItems(value).map((item) => ({ origin, value: item }));
    return { documents, rejections: [] };
  } catch {
    return undefined;
  }
}

function readYaml(file: string, text: string): FileDocuments {
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, {
    lineCounter: lines,
    prettyErrors: false,
    maxAliasCount: maxAliases,
  } as object);
  if (!Array.isArray(parsed)) return { documents: [], rejections: [] };
  const documents: RawDocument[] = [];
  const rejections: Rejection[] = [];
  for (const [index, document] of parsed.entries()) {
    const start = lines.linePos(document.contents?.range?.[0] ?? document.range[0]).line;
    const origin = { file, document: index + 1, line: start };
    for (const error of document.errors) {
      const at = lines.linePos(error.pos[0]);
      const reason = `line ${at.line}, column ${at.col}: ${error.message}`;
      rejections.push({ origin, object: 'YAML', field: '', reason });
    }
    if (document.errors.length > 0) continue;
    try {
      const value: unknown = document.toJS({ maxAliasCount: maxAliases });
      // An empty document stands between two `---` for no reason of its own.
      if (value !== null && value !== undefined)
        documents.push(...listItems(value).map((item) => ({ origin, value: item })));
    } catch (error) {
      rejections.push({
        origin,
        object: 'YAML',
        field: '',
        reason: error instanceof Error ? error.message : String(error),
      });
    }
  }
  return rejections.length > 0 ? { documents: [], rejections } : { documents, rejections };
}

/** `kind: List`, as `kubectl get -o yaml` writes it. */
function listItems(value: unknown): unknown[] {
  const { apiVersion, kind, items } = Object(value) as Record<string, unknown>;
  return apiVersion === 'v1' && kind === 'List' && Array.isArray(items) ? items : [value];
}
