import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as parse from '../../../src/config/parsers.ts';
import { editDistance } from '../../../src/config/suggest-option.ts';

const attempt = <T>(parser: parse.Parser<T>, text: string): T | 'refused' => {
  try {
    return parser(text);
  } catch {
    return 'refused';
  }
};

describe('durations', () => {
  it.each([
    ['500ms', 500],
    ['20s', 20_000],
    ['1m30s', 90_000],
    ['2h', 7_200_000],
    ['1d', 86_400_000],
    ['0', 0],
    ['0s', 0],
  ])('reads %s', (text, milliseconds) => {
    expect(parse.duration(0)(text)).toBe(milliseconds);
  });

  it.each(['', '20', '-1s', '1.5s', '5 s', 's', '1s ', '1y', '25d', '9999999999s', '1S'])(
    'refuses %j',
    (text) => {
      expect(attempt(parse.duration(0), text)).toBe('refused');
    },
  );

  it('keep to their range and name it', () => {
    expect(() => parse.duration(1000, 60_000)('500ms')).toThrow('from 1s to 1m');
  });

  it('come back from their shortest form', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 24 * 86_400_000 }), (milliseconds) => {
        expect(parse.duration(0)(parse.formatDuration(milliseconds))).toBe(milliseconds);
      }),
    );
  });
});

describe('sizes', () => {
  it.each([
    ['0', 0],
    ['65536', 65_536],
    ['64KiB', 65_536],
    ['4MiB', 4_194_304],
    ['1GiB', 1_073_741_824],
  ])('reads %s', (text, size) => {
    expect(parse.bytes(0, 2 ** 40)(text)).toBe(size);
  });

  it.each(['', '4M', '4MB', '4 MiB', '-1', '1.5MiB', '0x10'])('refuses %j', (text) => {
    expect(attempt(parse.bytes(0, 2 ** 40), text)).toBe('refused');
  });
});

describe('single values', () => {
  it.each([
    ['a path', parse.path, '/run/hadal//x/../', '/run/hadal'],
    ['the root', parse.path, '/', '/'],
    ['no path', parse.optionalPath, '', ''],
    ['a relative path', parse.path, 'run/hadal', 'refused'],
    ['an empty path', parse.path, '', 'refused'],
    ['a socket path', parse.socketPath, '/run/a.sock', '/run/a.sock'],
    ['a socket path too long for the kernel', parse.socketPath, `/${'x'.repeat(107)}`, 'refused'],
    ['a node', parse.nodeName, 'node-1.example', 'node-1.example'],
    ['a node of digits', parse.nodeName, '17', '17'],
    ['a node in capitals', parse.nodeName, 'Node', 'refused'],
    ['an instance', parse.instanceName, 'lab-a', 'lab-a'],
    ['an instance that would leave its directory', parse.instanceName, '../x', 'refused'],
    ['an instance with a dash at its end', parse.instanceName, 'a-', 'refused'],
    ['a trust domain', parse.trustDomain, 'td.example', 'td.example'],
    ['a trust domain with a slash', parse.trustDomain, 'a/b', 'refused'],
    ['a port', parse.port, '15000', 15_000],
    ['port 0', parse.port, '0', 'refused'],
    ['true', parse.boolean, 'true', true],
    ['yes', parse.boolean, 'yes', 'refused'],
    ['TRUE', parse.boolean, 'TRUE', 'refused'],
    ['a number', parse.integer(-5, 5), '-5', -5],
    ['a number beyond its range', parse.integer(-5, 5), '6', 'refused'],
    ['a number with a point', parse.integer(-5, 5), '1.0', 'refused'],
    ['nothing for a number', parse.integer(0, 5), '', 'refused'],
    ['a choice', parse.oneOf('a', 'b'), 'b', 'b'],
    ['no choice', parse.oneOf('a', 'b'), 'B', 'refused'],
    ['an empty list', parse.list(parse.port), ' ', []],
    ['a list', parse.list(parse.port), '1, 2,3', [1, 2, 3]],
    ['a list with a hole', parse.list(parse.port), '1,,2', 'refused'],
  ] as [string, parse.Parser<unknown>, string, unknown][])(
    'reads %s as it should',
    (_, parser, text, expected) => {
      expect(attempt(parser, text)).toEqual(expected);
    },
  );

  it('reads ranges to their canonical form', () => {
    expect(
      parse
        .list(parse.cidr)('10.1.2.3/8, FD00::1/16')
        .map(({ text }) => text),
    ).toEqual(['10.0.0.0/8', 'fd00::/16']);
  });

  it('never give anything but a value or an Error', () => {
    const parsers: parse.Parser<unknown>[] = [
      parse.path,
      parse.socketPath,
      parse.nodeName,
      parse.port,
      parse.cidr,
      parse.boolean,
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...parsers, parse.duration(0), parse.bytes(0, 1e9)),
        fc.string(),
        (parser, text) => {
          try {
            expect(parser(text)).not.toBeNaN();
          } catch (error) {
            expect((error as Error).message).toMatch(/^expected /);
          }
        },
      ),
    );
  });
});

describe('editDistance', () => {
  it.each([
    ['', '', 0],
    ['abc', '', 3],
    ['abc', 'abd', 1],
    ['abc', 'acb', 1],
    ['abcd', 'acbd', 1],
    ['kitten', 'sitting', 3],
    ['ca', 'abc', 3],
  ])('of %j and %j is %i', (left, right, distance) => {
    expect(editDistance(left, right)).toBe(distance);
    expect(editDistance(right, left)).toBe(distance);
  });
});
