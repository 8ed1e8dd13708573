import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { SendallProcess } from './sendall-process';

const root = path.join(__dirname, '../..');

/** What V8 tells of a run: functions of each script, and how often each was called. */
interface Coverage {
  readonly result: readonly {
    readonly url: string;
    readonly functions: readonly {
      readonly functionName: string;
      readonly ranges: readonly { readonly count: number }[];
    }[];
  }[];
}

/** The files of this project that the built command loads for a line; in its bundle each is a function of its name. */
async function loadedFor(...words: string[]): Promise<string[]> {
  const told = mkdtempSync(path.join(tmpdir(), 'sendall-start-'));
  try {
    const env = { NODE_V8_COVERAGE: told, NODE_DISABLE_COMPILE_CACHE: '1' };
    await new SendallProcess(words, { env }).ended;
    const threads = readdirSync(told).map(
      (name) => JSON.parse(readFileSync(path.join(told, name), 'utf8')) as Coverage,
    );
    const main = threads.find(({ result }) => result.some(({ url }) => url.endsWith('/dist/cli/main.js')));
    return (main?.result ?? []).flatMap(({ url, functions }) => [
      ...(url.startsWith('file:') ? [path.relative(root, fileURLToPath(url))] : []),
      ...functions.flatMap(({ functionName, ranges }) =>
        /^dist\/.*\.js$/.test(functionName) && (ranges[0]?.count ?? 0) > 0 ? [functionName] : [],
      ),
    ]);
  } finally {
    rmSync(told, { recursive: true });
  }
}

describe('cli: what is loaded at start', () => {
  it('--version loads nothing but itself', async () => {
    expect(await loadedFor('--version')).to.have.members(['dist/cli/main.js', 'dist/cli/words.js']);
  });

  it('a command loads no other command, and nothing of the library that it does not use', async () => {
    const loaded = await loadedFor('send', process.execPath, 'tcp://127.0.0.1:1');
    expect(loaded).to.include.members(['dist/cli/commands/send.js', 'dist/lib/send/sender.js']);
    expect(
      loaded.filter((file) =>
        /^dist\/cli\/commands\/(?!send)|^dist\/lib\/(index|snapshot|store|receive|conversation)/.test(file),
      ),
    ).to.deep.equal([]);
  });
});
