import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { skipTest } from './skip-test';

const run = promisify(execFile);
const root = join(__dirname, '..');
const shell = process.platform === 'win32'; // npm and npx are batch files there
const { version } = require('../package.json') as typeof import('../package.json');

const consumer = `
import { send, createReceiver, TransferError, type SendOptions, type SendResult, type Receiver } from 'sendall';

export async function roundTrip(options: SendOptions): Promise<SendResult> {
  const receiver: Receiver = await createReceiver({ directory: '.', ifExists: 'refuse', on: (event) => void event.event });
  const { address, port } = await receiver.listen('127.0.0.1:0');
  const where: string = address + String(port satisfies number | null);
  try {
    return await send({ ...options, target: where });
  } catch (error) {
    if (error instanceof TransferError && error.code === 'exists') throw new Error(error.message, { cause: error });
    throw error;
  } finally {
    await receiver.close();
  }
}

// @ts-expect-error The type of a path is known.
void send({ paths: [1] });
// @ts-expect-error So is what may be done about a file that exists.
void createReceiver({ directory: '.', ifExists: 'overwrite' });
`;

describe('the package, installed from its own tarball into an empty project', function () {
  this.timeout(180_000);
  let directory: string;
  let project: string;
  let tarball: string;
  let packed: readonly string[];

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sendall-package-'));
    project = join(directory, 'project');
    await mkdir(project);
    if (!existsSync(join(root, 'dist', 'lib', 'index.js'))) await run('npm', ['run', 'build'], { cwd: root, shell });
    if (!existsSync(join(root, 'dist', 'man'))) await run('npm', ['run', 'man'], { cwd: root, shell });
    // Without prepack, which empties dist while other specs run what is in it.
    const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', directory], {
      cwd: root,
      shell,
    });
    const reports = JSON.parse(stdout) as readonly {
      readonly filename: string;
      readonly files: readonly { readonly path: string }[];
    }[];
    packed = reports.flatMap(({ files }) => files.map(({ path }) => path));
    await writeFile(join(project, 'package.json'), '{ "name": "consumer", "version": "1.0.0", "private": true }');
    tarball = join(directory, reports[0]?.filename ?? 'none');
    await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', tarball], { cwd: project, shell });
  });

  after(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  const node = async (file: string, code: string): Promise<string> => {
    await writeFile(join(project, file), code);
    return (await run(process.execPath, [file], { cwd: project })).stdout.trim();
  };

  it('carries what runs and what is read, and neither sources nor tests', () => {
    expect(packed).to.include.members([
      'package.json',
      'README.md',
      'LICENSE',
      'CHANGELOG.md',
      'PROTOCOL.md',
      'dist/cli/main.js',
    ]);
    const built =
      /^dist\/((lib|cli)\/.*(\.js|\.d\.ts)|bundled\/(cli\/program|lib\/.*\.worker)\.js|man\/sendall[a-z-]*\.[157]|web\/[a-z]+\.(html|css|js|svg))$/;
    expect(packed).to.include.members([
      'dist/lib/index.js',
      'dist/lib/index.d.ts',
      'dist/web/index.html',
      'dist/web/page.js',
      'dist/bundled/cli/program.js',
    ]);
    expect(packed).to.include.members([
      'docs/backups.md',
      'dist/man/sendall-send.1',
      'docs/systemd/sendall-backup.service',
      'fixtures/json-events.schema.json',
    ]);
    const read = /^(package\.json|LICENSE|[A-Z]+\.md|docs\/.*|fixtures\/(json-events|config)\.schema\.json)$/;
    expect(packed.filter((path) => !built.test(path) && !read.test(path))).to.deep.equal([]);
  });

  it('is imported from an ES module by name', async () => {
    const code = "import { send, createReceiver } from 'sendall';\nconsole.log(typeof send, typeof createReceiver);";
    expect(await node('consumer.mjs', code)).to.equal('function function');
  });

  it('is required from CommonJS', async () => {
    const code =
      "const { send, createReceiver } = require('sendall');\nconsole.log(typeof send, typeof createReceiver);";
    expect(await node('consumer.cjs', code)).to.equal('function function');
  });

  it('moves a file between two of its own functions', async () => {
    const code = `
      import { readFile, writeFile, mkdir } from 'node:fs/promises';
      import { send, createReceiver } from 'sendall';
      await mkdir('inbox', { mode: 0o700 });
      await writeFile('note.txt', 'the same bytes');
      const receiver = await createReceiver({ directory: 'inbox' });
      const { port } = await receiver.listen('127.0.0.1:0');
      const { files } = await send({ paths: ['note.txt'], target: \`tcp://127.0.0.1:\${port}\`, useCache: false });
      await receiver.close();
      console.log(files.length, files[0].verified !== null, await readFile('inbox/note.txt', 'utf8'));`;
    expect(await node('transfer.mjs', code)).to.equal('1 true the same bytes');
  });

  for (const [kind, file] of [
    ['an ES module', 'types.mts'],
    ['CommonJS', 'types.cts'],
  ] as const) {
    it(`has types that hold under strict in ${kind}`, async () => {
      await writeFile(join(project, file), consumer);
      const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
      const types = ['--typeRoots', join(root, 'node_modules', '@types'), '--types', 'node'];
      const options = [
        '--noEmit',
        '--strict',
        '--exactOptionalPropertyTypes',
        '--module',
        'nodenext',
        '--target',
        'es2023',
        ...types,
      ];
      const { stdout } = await run(process.execPath, [compiler, ...options, file], { cwd: project }).catch(
        (error: unknown) => error as { stdout: string },
      );
      expect(stdout).to.equal('');
    });
  }

  it('puts each manual page where man finds it', async function () {
    if (process.platform === 'win32') skipTest(this, 'it is not about Windows');
    const prefix = join(directory, 'prefix');
    await run('npm', ['install', '-g', '--prefix', prefix, '--prefer-offline', '--no-audit', '--no-fund', tarball]);
    const pages = packed.flatMap((path) => (path.startsWith('dist/man/') ? [path.slice('dist/man/'.length)] : []));
    expect(pages).to.include('sendall-send.1');
    for (const page of pages)
      expect(await readFile(join(prefix, 'share', 'man', `man${page.slice(-1)}`, page), 'utf8')).to.match(/^\.TH /m);
  });

  it('brings the command', async () => {
    const { stdout } = await run('npx', ['--no-install', 'sendall', '--version'], { cwd: project, shell });
    expect(stdout.trim()).to.equal(version);
  });
});
