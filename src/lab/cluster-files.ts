/** The objects of the cluster as files, one each: a directory that a control plane watches. Only what differs is written. */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** As the API server would show it. */
export interface ApiObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly namespace?: string; readonly name: string };
}

export class ClusterFiles {
  readonly directory: string;
  /** Text by file name. */
  #written = new Map<string, string>();

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(directory, { recursive: true });
    for (const file of readdirSync(directory)) rmSync(join(directory, file));
  }

  write(objects: readonly ApiObject[]): void {
    const next = new Map(objects.map((object) => [fileName(object), JSON.stringify(object)]));
    for (const [file, text] of next) {
      if (this.#written.get(file) === text) continue;
      const draft = join(this.directory, `.${file}.new`);
      writeFileSync(draft, text);
      renameSync(draft, join(this.directory, file));
    }
    for (const file of this.#written.keys()) {
      if (!next.has(file)) rmSync(join(this.directory, file), { force: true });
    }
    this.#written = next;
  }
}

/** Names of objects hold no underscore. */
function fileName({ kind, metadata: { namespace = '', name } }: ApiObject): string {
  return `${kind}_${namespace}_${name}.json`;
}
