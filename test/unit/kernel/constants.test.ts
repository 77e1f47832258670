import { describe, expect, it } from 'vitest';
import { parseConstants } from '../../../scripts/generate/constants.ts';

describe('constants of a shared header', () => {
  it('are its defines and enumerators, without comments and continuations', () => {
    const header = `
#ifndef HADAL_SHARED_X_H
/* #define HADAL_COMMENTED 1 */
#define HADAL_MARK 0x4841
#define HADAL_LIMIT \\
  20 /* why */
#define HADAL_LAYOUT(type, bytes) HADAL_STATIC_ASSERT(sizeof(type) == (bytes), "no")
enum hadal_kind {
  HADAL_KIND_A = 1, /* first */
  HADAL_KIND_B = 2,
};
struct hadal_thing { __u32 words[4]; };
`;
    expect(parseConstants(header)).toEqual([
      { name: 'MARK', value: 0x4841 },
      { name: 'LIMIT', value: 20 },
      { name: 'KIND_A', value: 1 },
      { name: 'KIND_B', value: 2 },
    ]);
  });
});
