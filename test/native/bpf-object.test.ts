import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { nativeAddon } from '../../src/native/addon.ts';
import type { BpfObject, BtfType } from '../../src/native/types.ts';
import { KernelFixture, kernelTestsUnavailable } from './fixture.ts';

const memberNames = (type: BtfType): string[] =>
  type.kind === 'struct' || type.kind === 'union' ? type.members.map((member) => member.name) : [];

describe.skipIf(kernelTestsUnavailable)('a BPF object', () => {
  const fixture = new KernelFixture();
  const addon = nativeAddon();
  const opened: BpfObject[] = [];
  let basics: string;
  let refused: string;

  const open = (path = basics): BpfObject => {
    const object = addon.openObject(path);
    opened.push(object);
    return object;
  };
  const thrown = (action: () => unknown): Error & { code?: string; verifierLog?: string; errno?: number } => {
    try {
      action();
    } catch (error) {
      return error as Error;
    }
    throw new Error('nothing was thrown');
  };

  beforeAll(() => {
    basics = fixture.compile('basics');
    refused = fixture.compile('refused');
  });
  afterEach(() => {
    for (const object of opened.splice(0)) object.close();
  });
  afterAll(() => fixture.dispose());

  it('tells its name, maps and programs', () => {
    const object = open();
    expect(object.name).toBe('basics');
    expect(object.mapNames).toEqual(
      expect.arrayContaining(['pairs', 'counters', 'listeners', 'marked', 'events', 'ranges', '.rodata']),
    );
    expect(object.programNames).toEqual([
      'on_connect',
      'on_connect_other',
      'steer',
      'read_packet',
      'pass_message',
      'list_tcp',
    ]);
    expect(addon.openObject(basics, { name: 'other' }).name).toBe('other');
  });

  it('describes a type as C lays it out', () => {
    const pair = open().type('pair_value');
    expect(pair).toMatchObject({ kind: 'struct', name: 'pair_value', size: 32 });
    expect(memberNames(pair)).toEqual(['bytes', 'inner', '']);
    const inner = pair.kind === 'struct' ? pair.members[1]?.type : undefined;
    expect(inner).toMatchObject({
      kind: 'struct',
      size: 16,
      members: [
        { name: 'when', offset: 0, type: { kind: 'int', size: 8, signed: true } },
        { name: 'colour', offset: 8, type: { kind: 'enum', values: { RED: 1, GREEN: 2 } } },
        { name: 'low', offset: 12, bitOffset: 96, bitSize: 4 },
        { name: 'high', offset: 12, bitOffset: 100, bitSize: 12 },
      ],
    });
    expect(open().type('pair_key')).toMatchObject({
      members: [{ name: 'address', type: { kind: 'array', length: 16, element: { size: 1 } } }, {}, {}],
    });
  });

  it('sets read-only variables of every kind and refuses what does not fit, by name', () => {
    const object = open();
    object.setReadOnly('step', 0xffffffff);
    object.setReadOnly('small', -128);
    object.setReadOnly('enabled', false);
    object.setReadOnly('wide', 0xffff_ffff_ffff_ffffn);
    object.setReadOnly('paint', 2);
    object.setReadOnly('tag', Uint8Array.of(1, 2, 3, 4));
    expect(thrown(() => object.setReadOnly('small', 128))).toMatchObject({
      code: 'ERR_BPF_RANGE',
      message: expect.stringContaining('basics.small: 128 does not fit signed char'),
    });
    expect(thrown(() => object.setReadOnly('step', 2 ** 32)).code).toBe('ERR_BPF_RANGE');
    expect(thrown(() => object.setReadOnly('step', -1)).code).toBe('ERR_BPF_RANGE');
    expect(thrown(() => object.setReadOnly('step', 1.5)).code).toBe('ERR_OUT_OF_RANGE');
    expect(thrown(() => object.setReadOnly('wide', 2n ** 64n)).code).toBe('ERR_OUT_OF_RANGE');
    expect(thrown(() => object.setReadOnly('enabled', 2)).code).toBe('ERR_BPF_RANGE');
    expect(thrown(() => object.setReadOnly('tag', Uint8Array.of(1))).code).toBe('ERR_BPF_SIZE');
    expect(thrown(() => object.setReadOnly('tag', 1)).code).toBe('ERR_BPF_TYPE');
    expect(thrown(() => object.setReadOnly('stepp', 1))).toMatchObject({
      code: 'ERR_BPF_NAME',
      message: expect.stringContaining('it has step, small'),
    });
    expect(thrown(() => object.setReadOnly('step', 'x' as never)).code).toBe('ERR_INVALID_ARG_TYPE');
    object.load();
    expect(thrown(() => object.setReadOnly('step', 1)).code).toBe('ERR_BPF_STATE');
  });

  it('carries the values it was given into the kernel', () => {
    const object = open();
    object.setReadOnly('step', 7);
    object.setReadOnly('small', -2);
    object.load();
    const rodata = object.map('.rodata');
    const content = rodata.get(new Uint8Array(4)) as Uint8Array;
    const layout = rodata.valueType;
    const offsetOf = (name: string): number => {
      const members = layout?.kind === 'struct' ? layout.members : [];
      return members.find((member) => member.name === name)?.offset ?? -1;
    };
    const view = new DataView(content.buffer);
    expect(view.getUint32(offsetOf('step'), true)).toBe(7);
    expect(view.getInt8(offsetOf('small'))).toBe(-2);
  });

  it('says why the verifier refused, in the message and whole', () => {
    const object = open(refused);
    const error = thrown(() => object.load());
    expect(error).toMatchObject({ code: 'ERR_BPF_LOAD', errno: 13 });
    expect(error.message).toContain('program careless was refused');
    expect(error.message).toContain("R0 invalid mem access 'map_value_or_null'");
    expect(error.message).not.toContain('processed ');
    expect(error.verifierLog).toContain('processed ');
    expect(error.verifierLog?.split('\n').length).toBeGreaterThan(error.message.split('\n').length);
    expect(thrown(() => object.load()).message).toContain('open it again');
  });

  it('leaves out a program when told', () => {
    const object = open(refused);
    object.skipProgram('careless');
    object.load();
    expect(object.program('fine').type).toBe('sched_cls');
    expect(thrown(() => object.program('careless')).message).toContain('skipProgram');
  });

  it('shares a map with another object, and only one that agrees', () => {
    const first = open();
    first.load();
    const second = open();
    second.reuseMap('pairs', first.map('pairs'));
    expect(thrown(() => second.reuseMap('pairs', first.map('counters')))).toMatchObject({
      code: 'ERR_BPF_MAP',
      message: expect.stringContaining('expected a hash'),
    });
    expect(thrown(() => second.reuseMap('pairs', {} as never)).code).toBe('ERR_HANDLE_TYPE');
    second.load();
    expect(second.map('pairs').id).toBe(first.map('pairs').id);
    expect(second.map('counters').id).not.toBe(first.map('counters').id);
  });

  it('sizes a map before load, not after', () => {
    const object = open();
    object.setMaxEntries('pairs', 3);
    object.load();
    expect(object.map('pairs').maxEntries).toBe(3);
    expect(thrown(() => object.setMaxEntries('pairs', 4)).code).toBe('ERR_BPF_STATE');
  });

  it('gives nothing out before it is loaded, and names what it lacks after', () => {
    const object = open();
    expect(thrown(() => object.map('pairs'))).toMatchObject({
      code: 'ERR_BPF_STATE',
      message: 'cannot open map pairs: BPF object basics is not loaded yet',
    });
    object.load();
    expect(thrown(() => object.map('pears')).message).toContain('it has listeners, ');
    expect(thrown(() => object.program('stear')).message).toContain('it has on_connect');
    expect(thrown(() => object.type('nope')).code).toBe('ERR_BPF_NAME');
    expect(thrown(() => object.load()).code).toBe('ERR_BPF_STATE');
  });

  it('outlives its own close through the maps and programs taken from it', () => {
    const object = open();
    object.load();
    const pairs = object.map('pairs');
    const program = object.program('read_packet');
    object.close();
    pairs.set(new Uint8Array(20), new Uint8Array(32));
    expect(pairs.get(new Uint8Array(20))).toEqual(new Uint8Array(32));
    expect(program.testRun({ packet: new Uint8Array(64) }).returnValue).toBe(64);
  });

  it('refuses a file that is missing or is no object', () => {
    expect(thrown(() => addon.openObject('/nonexistent/x.bpf.o'))).toMatchObject({
      code: 'ERR_BPF_OPEN',
      errno: 2,
    });
    expect(thrown(() => addon.openObject(import.meta.filename)).code).toBe('ERR_BPF_OPEN');
    expect(thrown(() => addon.openObject('/tmp/a\0b')).code).toBe('ERR_OUT_OF_RANGE');
    expect(thrown(() => addon.openObject(5 as never)).message).toBe('path must be a string, not a number');
  });

  it('says which map the kernel refused', () => {
    const object = open();
    object.setMaxEntries('pairs', 0);
    const error = thrown(() => object.load());
    expect(error).toMatchObject({ code: 'ERR_BPF_LOAD', errno: 22 });
    expect(error.message).toContain("map 'pairs': failed to create");
    expect(error.message).not.toContain('libbpf:');
  });

  it('writes nothing to the standard error of its process', () => {
    // libbpf prints there by default; vitest would show it. What it says is in the error instead.
    expect(thrown(() => open(refused).load()).message).not.toContain('libbpf:');
  });
});

describe('what the kernel can do', () => {
  const addon = nativeAddon();

  it('is told by name', () => {
    expect(addon.libbpfVersion).toMatch(/^\d+\.\d+/);
    expect(addon.cpuCount).toBeGreaterThan(0);
  });

  it.skipIf(kernelTestsUnavailable)('is found out by trying', () => {
    expect(addon.probeProgramType('sk_lookup')).toBe(true);
    expect(addon.probeMapType('ringbuf')).toBe(true);
    expect(addon.probeHelper('sk_lookup', 'sk_assign')).toBe(true);
    expect(addon.probeHelper('socket_filter', 'sk_assign')).toBe(false);
  });

  it('is refused for names that do not exist', () => {
    expect(() => addon.probeProgramType('sk_lookdown')).toThrow(/knows no program type sk_lookdown/);
    expect(() => addon.probeMapType('')).toThrow(/knows no map type/);
    expect(() => addon.probeHelper('sk_lookup', 'bpf_sk_assign')).toThrow(/knows no helper/);
  });
});
