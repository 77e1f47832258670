/** `/config_dump`: each part of the agent registers the section it knows. istioctl reads the names in `istioctlSections`. */
import { HadalError } from '../base/errors.ts';

/** Top-level names that `istioctl ztunnel-config` parses; present even when empty. */
const istioctlSections = {
  workloads: [],
  services: [],
  policies: [],
  certificates: [],
  workloadState: {},
} as const;

export type SectionReader = () => unknown;

export class ConfigDump {
  readonly #sections = new Map<string, SectionReader>();

  /** A name is given once. Each read may take its time; `read` waits for all. */
  section(name: string, read: SectionReader): this {
    if (this.#sections.has(name))
      throw new HadalError('ERR_INTERNAL', `section ${name} of /config_dump is registered twice`);
    this.#sections.set(name, read);
    return this;
  }

  get names(): string[] {
    return [...new Set([...Object.keys(istioctlSections), ...this.#sections.keys()])];
  }

  /** A section that fails says so in its place; the others are there. */
  async read(only?: readonly string[]): Promise<Record<string, unknown>> {
    const wanted = this.names.filter((name) => only === undefined || only.includes(name));
    const values = await Promise.all(wanted.map((name) => this.#readOne(name)));
    return Object.fromEntries(wanted.map((name, index) => [name, values[index]]));
  }

  async #readOne(name: string): Promise<unknown> {
    const read = this.#sections.get(name);
    if (read === undefined) return istioctlSections[name as keyof typeof istioctlSections];
    try {
      return await read();
    } catch (error) {
      return { error: HadalError.from(error, 'ERR_CONFIG_DUMP', `reading ${name}`).toJSON() };
    }
  }
}
