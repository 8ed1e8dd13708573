// What the pure code promises of any input at all, as properties that find the smallest input that breaks them.
import fc from 'fast-check';
import type { Modules } from './modules';

export interface Model {
  readonly name: string;
  readonly property: fc.IProperty<unknown[]>;
}

const algorithms = ['md5', 'sha256', 'blake3'] as const;
const digestLength = { md5: 32, sha256: 64, blake3: 64 };
const hex = (length: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: length, maxLength: length });
const hostileText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc
    .array(
      fc.constantFrom(
        '.',
        '..',
        '/',
        '\\',
        'a',
        'CON',
        ' ',
        '\0',
        '\u202e',
        ':',
        '.sendall',
        '～',
        'ｓ',
        '\ud800',
        'x'.repeat(254),
      ),
      { maxLength: 8 },
    )
    .map((words) => words.join('')),
);
const hostileNumber = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(0, -0, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 1e400),
);
const hostileValue = fc.oneof(hostileText, hostileNumber, fc.jsonValue({ maxDepth: 3 }));
const keys = [
  'type',
  'file',
  'file_name',
  'file_size',
  'md5',
  'reply',
  'code',
  'message',
  'list',
  'size',
  'offset',
  'zero',
  'first',
  'count',
  'from',
  'digests',
  'name',
  'mode',
  'mtime',
  'target',
  'session',
  'version',
  'role',
  'connection',
  'verified',
  'path',
];
const types = [
  'receipt',
  'refusal',
  'hello',
  'offer',
  'segment',
  'bundle',
  'keep',
  'copy',
  'close',
  'drop',
  'text',
  'end',
  'connect',
  'missing',
  'answer',
  'held',
  'standing',
  'receipts',
  'taken',
  'progress',
  'alarm',
  'done',
  'heartbeat',
];
const hostileHeader = fc
  .tuple(
    fc.constantFrom(...types),
    fc.dictionary(fc.oneof(fc.constantFrom(...keys), hostileText), hostileValue, { maxKeys: 8 }),
  )
  .map(([type, more]) => ({ type, ...more }));
const jsonBytes = fc
  .oneof(hostileHeader, fc.jsonValue({ maxDepth: 4 }))
  .map((value) => Buffer.from(JSON.stringify(value)));
const nearlyJson = fc.tuple(jsonBytes, fc.nat(), fc.integer({ min: 0, max: 255 })).map(([bytes, at, byte]) => {
  const changed = Buffer.from(bytes);
  changed[at % changed.length] = byte;
  return changed;
});
const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  jsonBytes,
  nearlyJson,
);
const name = fc
  .array(fc.string({ unit: fc.constantFrom(...'abcxyzÄ日'), minLength: 1, maxLength: 9 }), {
    minLength: 1,
    maxLength: 4,
  })
  .map((words) => words.join('/'));
const time = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

/** That `read` gives something, or fails with one of these codes and nothing else. @returns what it gave. */
function only<Result>({ errors }: Modules, codes: readonly string[], read: () => Result): Result | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof errors.TransferError && codes.includes(error.code) && error.message.length < 2000)
      return undefined;
    throw error;
  }
}

function holds(condition: boolean, sentence: string): void {
  if (!condition) throw new Error(sentence);
}

const model = <Inputs extends [unknown, ...unknown[]]>(
  title: string,
  inputs: { [At in keyof Inputs]: fc.Arbitrary<Inputs[At]> },
  check: (...given: Inputs) => void,
): Model => ({
  name: title,
  property: fc.property(fc.tuple(...(inputs as readonly fc.Arbitrary<unknown>[])), (given) =>
    check(...(given as Inputs)),
  ),
});

/** All of them, for the code of one build. */
export function modelsOf(modules: Modules): Model[] {
  const { frame, json, message, sessionMessage, list, basis, segment, manifest, name: names, ticket, errors } = modules;
  const parse = (value: unknown): import('../../lib/wire/frame').JsonObject =>
    json.parseJsonObject(Buffer.from(JSON.stringify(value)));
  return [
    model(
      'frame: what was written is read, however it is split',
      [
        fc.array(fc.dictionary(fc.constantFrom(...keys), fc.oneof(fc.string(), fc.integer())), { maxLength: 4 }),
        fc.array(fc.nat()),
      ],
      (headers, cuts) => {
        const bytes = Buffer.concat(headers.map((header) => frame.encodeFrame(header)));
        const read = headersIn(modules, splitAt(bytes, cuts));
        holds(
          JSON.stringify(read) === JSON.stringify(headers.map((header) => ({ ...header }))),
          `read as ${JSON.stringify(read)}`,
        );
      },
    ),
    model(
      'frame: any bytes are headers within the limits, or bad-frame',
      [
        fc.oneof(
          anyBytes,
          fc.tuple(fc.integer(), anyBytes).map(([length, bytes]) => prefixed(length, bytes)),
        ),
        fc.array(fc.nat()),
      ],
      (bytes, cuts) => {
        const whole = only(modules, ['bad-frame'], () => headersIn(modules, [bytes]));
        const split = only(modules, ['bad-frame'], () => headersIn(modules, splitAt(bytes, cuts)));
        holds(JSON.stringify(whole) === JSON.stringify(split), 'how it is split makes a difference');
      },
    ),
    model(
      'frame: no length out of range is taken',
      [fc.oneof(fc.integer({ max: 1 }), fc.integer({ min: 65537, max: 2 ** 31 - 1 }))],
      (length) => {
        holds(
          only(modules, ['bad-frame'], () => new frame.HeaderDecoder().push(prefixed(length, Buffer.alloc(0)))) ===
            undefined,
          `${String(length)} was taken`,
        );
      },
    ),
    model('json-object: what JSON.parse says, without keys that stand twice, or bad-frame', [anyBytes], (bytes) => {
      const read = only(modules, ['bad-frame'], () => json.parseJsonObject(bytes));
      if (read === undefined) return;
      holds(
        JSON.stringify(read) === JSON.stringify(JSON.parse(bytes.toString())),
        'it is read otherwise than JSON.parse does',
      );
    }),
    model(
      'json-object: a key that stands twice is refused, however it is spelled',
      [fc.string({ minLength: 1, maxLength: 5 }), fc.boolean()],
      (key, escaped) => {
        const again = escaped
          ? `"${[...key].map((unit) => [...Array(unit.length).keys()].map((at) => `\\u${unit.charCodeAt(at).toString(16).padStart(4, '0')}`).join('')).join('')}"`
          : JSON.stringify(key);
        const read = only(modules, ['bad-frame'], () =>
          json.parseJsonObject(Buffer.from(`{${JSON.stringify(key)}:1,${again}:2}`)),
        );
        holds(read === undefined, 'it was taken');
      },
    ),
    model('message: any header is a file within its limits, or bad-header', [hostileHeader], (header) => {
      const file = only(modules, ['bad-header', 'bad-frame'], () => message.parseFileHeader(parse(header)));
      if (file)
        holds(
          Number.isSafeInteger(file.file_size) &&
            file.file_size >= 0 &&
            /^[0-9a-f]{32}$/.test(file.md5) &&
            typeof file.file_name === 'string',
          JSON.stringify(file),
        );
    }),
    model('message: any header is a reply with a known code, or bad-header', [hostileHeader], (header) => {
      const reply = only(modules, ['bad-header', 'bad-frame'], () => message.parseReply(parse(header)));
      if (reply?.type === 'refusal') holds(errors.isErrorCode(reply.code), `the code ${reply.code}`);
    }),
    model(
      'session-message: any header is a message of its side, or bad-header, or the name of a backup that is none',
      [hostileHeader],
      (header) => {
        const said = [sessionMessage.parseFromSender, sessionMessage.parseFromReceiver].map((read) =>
          only(modules, ['bad-header', 'bad-frame', 'name'], () => read(parse(header))),
        );
        for (const each of said) {
          if (each && 'list' in each)
            holds(
              Number.isSafeInteger(each.list) && each.list >= 0 && each.list <= sessionMessage.longestList,
              `a list of ${String(each.list)}`,
            );
          if (each?.type === 'segment')
            holds(
              each.offset % segment.pieceSize === 0 &&
                each.size >= 1 &&
                each.offset + each.size <= Number.MAX_SAFE_INTEGER,
              JSON.stringify(each),
            );
          if (each?.type === 'bundle')
            holds(each.size >= 0 && each.size <= sessionMessage.longestBundle, JSON.stringify(each));
        }
      },
    ),
    model(
      'session-list: entries are read as they were written',
      [
        fc.uniqueArray(fc.tuple(fc.nat(), name, time, fc.nat(), fc.nat({ max: 0o777 })), {
          maxLength: 5,
          selector: ([file]) => file,
        }),
      ],
      (entries) => {
        const written = entries.map(
          ([file, text, mtime, size, mode]) =>
            ({
              type: 'file',
              file,
              name: names.parseEntryName(text),
              mtime,
              size,
              mode,
              ctime: undefined,
              inode: undefined,
              data: undefined,
            }) as const,
        );
        const read = list.parseEntries(list.encodeList(written.map((entry) => list.encodeEntry(entry))), {
          allowHidden: false,
        });
        const told = (value: unknown): string =>
          JSON.stringify(value, (_key, each: unknown) => (typeof each === 'bigint' ? String(each) : each));
        holds(
          read.length === written.length &&
            read.every(
              (entry, at) =>
                'mtime' in entry &&
                told(Object.entries(entry).sort()) === told(Object.entries(written[at] ?? {}).sort()),
            ),
          `read as ${told(read)}`,
        );
      },
    ),
    model(
      'session-list: any bytes are a list of what it should be, or bad-frame, or bad-header',
      [
        fc.oneof(
          anyBytes,
          fc
            .array(fc.oneof(hostileHeader, fc.array(hostileValue, { maxLength: 4 }), hostileNumber), { maxLength: 5 })
            .map((value) => Buffer.from(JSON.stringify(value))),
        ),
        fc.constantFrom(...algorithms),
      ],
      (bytes, algorithm) => {
        const codes = ['bad-frame', 'bad-header'];
        const entries = only(modules, codes, () => list.parseEntries(bytes, { allowHidden: true }));
        for (const entry of entries ?? [])
          if ('name' in entry) holds(isSafe(entry.name), `the name ${JSON.stringify(entry.name)}`);
        const bundle = only(modules, codes, () => list.parseBundle(bytes, algorithm));
        for (const { size, digest } of bundle ?? [])
          holds(size >= 0 && size <= segment.smallFile && digest.length === digestLength[algorithm], 'a bundled file');
        for (const { segment: number } of only(modules, codes, () => list.parseHeld(bytes, algorithm)) ?? [])
          holds(number < segment.mostSegments, 'a held segment');
        only(modules, codes, () => list.parseNumbers(bytes));
        only(modules, codes, () => list.parseReceipts(bytes));
        only(modules, codes, () => list.parseMissing(bytes));
        only(modules, codes, () => basis.parseBasis(bytes, algorithm));
      },
    ),
    model(
      'session-list: no list is longer or deeper than the limit',
      [fc.constantFrom('[0', '[[', '{"a":['), fc.integer({ min: 65_537, max: 70_000 })],
      (opening, count) => {
        const text =
          opening === '[0'
            ? `[0${',0'.repeat(count - 1)}]`
            : opening === '[['
              ? `${'['.repeat(40)}${']'.repeat(40)}`
              : `[${'{"a":[]},'.repeat(count)}0]`;
        holds(
          only(modules, ['bad-frame'], () => list.parseNumbers(Buffer.from(text))) === undefined,
          `${String(count)} elements were taken`,
        );
      },
    ),
    model(
      'manifest: any bytes are one, or do not match',
      [
        fc.oneof(
          anyBytes,
          fc
            .array(fc.oneof(hostileHeader, hostileText), { maxLength: 5 })
            .map((lines) => Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))),
        ),
      ],
      (bytes) => {
        for (const read of [manifest.parseManifest, manifest.parseManifestOutline, manifest.parseManifestHead])
          only(modules, ['mismatch'], () => read(bytes));
      },
    ),
    model(
      'name: any text is a name that stays below its directory, or is refused',
      [hostileText, fc.boolean()],
      (text, allowHidden) => {
        const read = only(modules, ['name'], () => names.parseEntryName(text, { allowHidden }));
        if (read === undefined) return;
        holds(isSafe(read), `taken as ${JSON.stringify(read)}`);
        holds(names.parseEntryName(read, { allowHidden }) === read, 'its name is not its name');
        holds(names.printable(read) === read, 'it would have to be escaped');
      },
    ),
    model(
      'segment: pieces that are added are there, and no others',
      [fc.nat({ max: 20 * 2 ** 20 }), fc.array(fc.tuple(fc.nat({ max: 22 }), fc.nat({ max: 3 })), { maxLength: 20 })],
      (size, runs) => {
        const coverage = new segment.Coverage(size);
        const there = new Set<number>();
        for (const [first, count] of runs) {
          const offset = first * segment.pieceSize;
          const length = Math.min(count * segment.pieceSize, Math.max(0, size - offset));
          if (length === 0) continue;
          only(modules, ['bad-header'], () => coverage.add(offset, length));
          for (let piece = first; piece * segment.pieceSize < offset + length; piece++) there.add(piece);
        }
        holds(
          coverage.covered === there.size && coverage.whole === (there.size === Math.ceil(size / segment.pieceSize)),
          `${String(coverage.covered)} of ${String(there.size)}`,
        );
      },
    ),
    model(
      'ticket: any text is one that is written the same again, or is refused without being repeated',
      [
        fc.oneof(
          hostileText,
          hex(64).map((token) => `sendall://h:1/${token}`),
        ),
      ],
      (text) => {
        const read = only(modules, ['usage'], () => ticket.parseTicket(text));
        if (read)
          holds(
            ticket.formatTicket(ticket.parseTicket(ticket.formatTicket(read))) === ticket.formatTicket(read),
            'it is written otherwise',
          );
      },
    ),
  ];
}

/** The headers of frames that have no payload. */
export function headersIn({ frame }: Modules, pieces: readonly Uint8Array[]): unknown[] {
  const decoder = new frame.HeaderDecoder();
  const read: unknown[] = [];
  for (const piece of pieces) {
    for (let rest = piece; rest.length > 0;) {
      rest = rest.subarray(decoder.push(rest));
      if (!decoder.header) continue;
      read.push(decoder.header);
      decoder.reset();
    }
  }
  decoder.finish();
  return read;
}

/** Whether a name stays below its directory wherever it is used. Says it in other words than lib/name does. */
export function isSafe(text: string): boolean {
  const components = text.split('/');
  return (
    components.every(
      (component) =>
        component !== '' &&
        component !== '.' &&
        component !== '..' &&
        component.toLowerCase() !== '.sendall' &&
        Buffer.byteLength(component) <= 255,
    ) && !/[\0-\x1f\\]/.test(text)
  );
}

function splitAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, at) => bytes.subarray(places[at], end));
}

function prefixed(length: number, bytes: Buffer): Buffer {
  const prefix = Buffer.alloc(4);
  prefix.writeInt32LE(length);
  return Buffer.concat([prefix, bytes]);
}
