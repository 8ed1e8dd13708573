// Changes what is in order, by chance: bytes, values, and the order of a conversation.
import type { Random } from '../random';
import type { ConversationSeed, Part } from './corpus';

const numbers = [
  0,
  -1,
  1,
  2,
  7,
  0.5,
  255,
  65535,
  65536,
  65537,
  524288,
  1048576,
  1048577,
  8388608,
  8388609,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
  1e300,
];
const texts = [
  '',
  '.',
  '..',
  '/',
  '../a',
  'a/../../b',
  '/etc/passwd',
  'a//b',
  'a/',
  'a\\b',
  'c:d',
  '.sendall',
  '.sendall/x',
  '.SENDALL/partial',
  'con',
  'nul.txt',
  'a.',
  'a ',
  '\u0000',
  'a\u0000b',
  '\u202e',
  '\ud800',
  '\u001b[2J',
  'x'.repeat(255),
  'x'.repeat(256),
  'd/'.repeat(300) + 'f',
  'y/'.repeat(2040) + 'z',
  '__proto__',
  'constructor',
  'file',
  'symlink',
  'directory',
  'link',
  'blake3',
  'md5',
  '0'.repeat(32),
  'f'.repeat(64),
  '9223372036854775807',
  '-9223372036854775808',
  '99999999999999999999',
  'device',
  'unexpected',
  'receiver',
];

/** Any value that JSON can say. */
export function anyValue(random: Random): unknown {
  switch (random.between(0, 6)) {
    case 0:
      return null;
    case 1:
      return random.next() < 0.5;
    case 2:
    case 3:
      return random.oneOf(numbers);
    case 4:
      return random.oneOf<unknown>([[], {}, [[]], [0, 0, ''], nested(random.between(2, 40)), { a: 1, a2: [] }]);
    default:
      return random.oneOf(texts);
  }
}

function nested(depth: number): unknown {
  return depth === 0 ? 0 : [nested(depth - 1)];
}

/** One or a few changes of bytes; never longer than a few times what it was. */
export function mutateBytes(bytes: Buffer, random: Random, others: readonly Buffer[] = []): Buffer {
  let changed = Buffer.from(bytes);
  for (let left = random.between(1, 4); left > 0; left--) {
    const at = random.between(0, Math.max(0, changed.length - 1));
    switch (random.between(0, 7)) {
      case 0:
        if (changed.length > 0) changed[at] = (changed[at] ?? 0) ^ (1 << random.between(0, 7));
        break;
      case 1:
        if (changed.length > 0) changed[at] = random.between(0, 255);
        break;
      case 2:
        changed = Buffer.concat([changed.subarray(0, at), random.bytes(random.between(1, 5)), changed.subarray(at)]);
        break;
      case 3:
        changed = Buffer.concat([changed.subarray(0, at), changed.subarray(at + random.between(1, 9))]);
        break;
      case 4:
        changed = changed.subarray(0, at);
        break;
      case 5: {
        const length = random.between(1, 40);
        changed = Buffer.concat([changed.subarray(0, at + length), changed.subarray(at)]);
        break;
      }
      case 6: {
        const other = others.length > 0 ? random.oneOf(others) : changed;
        const from = random.between(0, other.length);
        changed = Buffer.concat([changed.subarray(0, at), other.subarray(from, from + 4096)]);
        break;
      }
      default: {
        const written = JSON.stringify(anyValue(random));
        changed = Buffer.concat([changed.subarray(0, at), Buffer.from(written), changed.subarray(at)]);
      }
    }
  }
  return changed;
}

/** The same JSON with one value, key or element changed somewhere. */
export function mutateValue(value: unknown, random: Random): unknown {
  if (random.next() < 0.15) return anyValue(random);
  if (Array.isArray(value)) {
    const list = [...(value as unknown[])];
    const at = random.between(0, Math.max(0, list.length - 1));
    const how = random.between(0, 3);
    if (how === 0) list.splice(at, 1);
    else if (how === 1) list.splice(at, 0, list.length > 0 ? list[at] : anyValue(random));
    else if (list.length > 0) list[at] = mutateValue(list[at], random);
    return list;
  }
  if (typeof value === 'object' && value !== null) {
    const entries: [string, unknown][] = Object.entries(value);
    const at = random.between(0, Math.max(0, entries.length - 1));
    const [key, old] = entries[at] ?? ['a', 0];
    const how = random.between(0, 4);
    if (how === 0) entries.splice(at, 1);
    else if (how === 1)
      entries.push([
        random.oneOf(['list', 'size', 'file', 'zero', 'type', 'reply', '__proto__', 'skipped']),
        anyValue(random),
      ]);
    else entries[at] = [key, mutateValue(old, random)];
    return Object.fromEntries(entries);
  }
  if (typeof value === 'number' && random.next() < 0.5) return value + random.oneOf([-1, 1, 65536, 1048576]);
  return anyValue(random);
}

/** A conversation with one to three changes: of its order, of what a frame says, or of what follows it. */
export function mutateConversation(
  seed: ConversationSeed,
  random: Random,
  others: readonly ConversationSeed[],
): Part[] {
  const parts = [...seed.parts];
  for (let left = random.between(1, 3); left > 0; left--) {
    const at = random.between(0, Math.max(0, parts.length - 1));
    const part = parts[at];
    if (part === undefined) return parts;
    switch (random.between(0, 9)) {
      case 0:
        parts.splice(at, 1);
        break;
      case 1:
        parts.splice(at, 0, part);
        break;
      case 2: {
        const other = random.between(0, parts.length - 1);
        parts[at] = parts[other] ?? part;
        parts[other] = part;
        break;
      }
      case 3:
        parts.splice(at, 0, random.oneOf(random.oneOf(others).parts));
        break;
      case 4:
        if (part.payload) parts[at] = { ...part, payload: mutateBytes(part.payload, random) };
        break;
      case 5:
        if (part.list !== undefined) parts[at] = { ...part, list: mutateValue(part.list, random) };
        break;
      case 6:
        if (random.next() < 0.3) parts.length = at;
        break;
      default:
        if (part.header !== undefined) parts[at] = { ...part, header: mutateValue(part.header, random) };
    }
  }
  return parts;
}
