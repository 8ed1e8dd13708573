import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020';
import { expect } from 'chai';
import { manualPages, referenceFiles } from '../packaging/reference';
import { sendall } from './cli/sendall-process';
import { skipTest } from './skip-test';

const root = join(__dirname, '..');

describe('what is written from the help', () => {
  for (const [name, text] of Object.entries(referenceFiles()))
    it(`${name} is as npm run reference writes it`, () => {
      expect(readFileSync(join(root, name), 'utf8')).to.equal(text);
    });

  it('docs/config.md has each key of a command once', () => {
    for (const table of (referenceFiles()['docs/config.md'] ?? '').split('\n## ').slice(1)) {
      const keys = [...table.matchAll(/^\| `([^`]+)`/gm)].map(([, key = '']) => key);
      expect(keys, table.split('\n')[0])
        .to.deep.equal([...new Set(keys)])
        .and.not.deep.equal([]);
    }
  });

  it('the schema takes what docs/config.md shows, and what the command takes; not what it refuses', async () => {
    const schema = JSON.parse(referenceFiles()['fixtures/config.schema.json'] ?? '') as object;
    const validate = new Ajv2020({ strict: true, allowUnionTypes: true }).compile(schema);
    const [, shown = ''] = /^```json\n(.*?)^```$/ms.exec(readFileSync(join(root, 'docs', 'config.md'), 'utf8')) ?? [];
    const directory = mkdtempSync(join(tmpdir(), 'sendall-config-'));
    try {
      const exitCode = async (config: string): Promise<number | null> => {
        writeFileSync(join(directory, 'config.json'), config, { mode: 0o600 });
        return (await sendall(['peers', 'list', '--config', 'config.json'], { cwd: directory })).code;
      };
      expect({ valid: validate(JSON.parse(shown)), code: await exitCode(shown) }).to.deep.equal({
        valid: true,
        code: 0,
      });
      const wrong = '{"send": {"limt": "10M"}}';
      expect({ valid: validate(JSON.parse(wrong)), code: await exitCode(wrong) }).to.deep.equal({
        valid: false,
        code: 2,
      });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('package.json names each manual page, for whoever installs the command', () => {
    const { man } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { man: readonly string[] };
    const pages = Object.keys(manualPages()).map((name) => `./dist/man/${name}`);
    expect([...man].sort()).to.deep.equal(pages.sort());
  });

  it('manual pages say what the help says, and groff finds nothing wrong with them', function () {
    const pages = manualPages();
    expect(Object.keys(pages)).to.include.members([
      'sendall.1',
      'sendall-send.1',
      'sendall-config.5',
      'sendall-ticket.5',
      'sendall-promises.7',
    ]);
    expect(pages['sendall-send.1']).to.include('.B \\-\\-check\n').and.include('.SH MORE');
    expect(pages['sendall-config.5']).to.include('idle\\-limit').and.include('.SH FOR ALL COMMANDS');
    if (spawnSync('groff', ['--version']).status !== 0) skipTest(this, 'groff is not installed');
    for (const [name, text] of Object.entries(pages)) {
      const { stderr } = spawnSync('groff', ['-man', '-ww', '-z'], { input: text, encoding: 'utf8' });
      expect(stderr, name).to.equal('');
    }
  });
});
