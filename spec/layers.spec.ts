import { readdirSync, readFileSync } from 'node:fs';
import { basename, join, posix } from 'node:path';
import { expect } from 'chai';
import * as ts from 'typescript';

/** The sources of lib and cli by their path from the project's root, with forward slashes. */
type Tree = ReadonlyMap<string, string>;

interface Layer {
  readonly name: string;
  readonly holds: RegExp;
  /** The layers it may import besides itself; 'bottom' is meant in all of them. */
  readonly below: readonly string[];
}

const layers: readonly Layer[] = [
  { name: 'cli', holds: /^cli\//, below: ['index', 'internal'] },
  {
    name: 'index',
    holds: /^lib\/index\.ts$/,
    below: [
      'snapshot',
      'receive',
      'send',
      'conversation',
      'codes',
      'session',
      'scan',
      'access',
      'store',
      'net',
      'wire',
      'digest',
    ],
  },
  {
    name: 'internal',
    holds: /^lib\/(internal|load)\.ts$/,
    below: [
      'web',
      'snapshot',
      'receive',
      'send',
      'codes',
      'session',
      'scan',
      'access',
      'store',
      'net',
      'wire',
      'digest',
    ],
  },
  {
    name: 'web',
    holds: /^lib\/web\//,
    below: ['receive', 'send', 'session', 'store', 'net', 'wire', 'digest'],
  },
  {
    name: 'snapshot',
    holds: /^lib\/snapshot\//,
    below: ['receive', 'send', 'session', 'scan', 'access', 'store', 'net', 'wire', 'digest'],
  },
  {
    name: 'receive',
    holds: /^lib\/receive\//,
    below: ['codes', 'session', 'access', 'store', 'net', 'wire', 'digest'],
  },
  { name: 'send', holds: /^lib\/send\//, below: ['codes', 'session', 'scan', 'access', 'net', 'wire', 'digest'] },
  { name: 'conversation', holds: /^lib\/conversation\//, below: ['net', 'wire', 'digest'] },
  { name: 'codes', holds: /^lib\/codes\//, below: ['session', 'access', 'net', 'wire', 'digest'] },
  { name: 'session', holds: /^lib\/session\//, below: ['net', 'wire', 'digest'] },
  { name: 'scan', holds: /^lib\/scan\//, below: ['wire', 'digest'] },
  { name: 'access', holds: /^lib\/access\//, below: ['net', 'wire', 'digest'] },
  { name: 'store', holds: /^lib\/store\//, below: ['wire', 'digest'] },
  { name: 'net', holds: /^lib\/net\//, below: ['wire', 'digest'] },
  { name: 'wire', holds: /^lib\/wire\//, below: [] },
  { name: 'digest', holds: /^lib\/digest\//, below: ['wire'] },
  {
    name: 'bottom',
    holds:
      /^lib\/((make-path|name|name-bytes|object-address|progress|size-text|slices|errors|trace|user-directory)\.ts$|threads\/)/,
    below: [],
  },
];

const unpure = /^node:(fs|fs\/promises|net|tls|dgram|https?|http2|child_process|worker_threads|cluster)$/;
const drawing = ['commander', 'cli-progress', 'uqr'];
const namedAfterNothing = [
  'util',
  'utils',
  'helper',
  'helpers',
  'types',
  'common',
  'constants',
  'manager',
  'managers',
  'misc',
];
const longest = 500;

const layerOf = (path: string): Layer | undefined => layers.find(({ holds }) => holds.test(path));

/**
 * Everything a file imports: `import`, `export … from`, `require`, `import()`, in types too; own files as paths, others
 * as written.
 */
function importsOf(path: string, tree: Tree): string[] {
  const { importedFiles } = ts.preProcessFile(tree.get(path) ?? '', true, true);
  return importedFiles.map(({ fileName }) => {
    if (!fileName.startsWith('.')) return fileName;
    const target = posix.join(posix.dirname(path), fileName);
    return (
      [`${target}.ts`, `${target}/index.ts`, target.replace(/\.js$/, '.ts')].find((file) => tree.has(file)) ?? target
    );
  });
}

function importFault(path: string, target: string, tree: Tree): string | undefined {
  const from = layerOf(path);
  if (from === undefined) return undefined; // said once by fileFaults
  if (path.startsWith('lib/') && drawing.includes(target)) return 'the library does not draw';
  if (from.name === 'wire' && unpure.test(target.startsWith('node:') ? target : `node:${target}`))
    return 'the wire is pure';
  if (!tree.has(target)) return /^(lib|cli)\//.test(target) ? 'there is no such file in lib or cli' : undefined;
  const to = layerOf(target);
  if (to === undefined || to === from) return undefined;
  if (
    from.name === 'wire' &&
    (to.name === 'bottom' || to.name === 'digest') &&
    !/\/(errors|name|name-bytes|progress)\.ts$/.test(target)
  )
    return 'the wire knows only errors, names and words';
  if (from.name !== 'cli' && to.name === 'bottom') return undefined;
  return from.below.includes(to.name) ? undefined : `${from.name} may not import ${to.name}`;
}

/** What a file says of itself, whatever it imports. */
function fileFaults(path: string, text: string): string[] {
  const faults: string[] = [];
  if (layerOf(path) === undefined) faults.push('belongs to no layer');
  if (
    basename(path, '.ts')
      .split(/[.-]/)
      .some((word) => namedAfterNothing.includes(word.toLowerCase()))
  )
    faults.push('is named after nothing');
  const lines = text.split('\n').length - 1;
  if (lines > longest) faults.push(`has ${lines} lines, more than ${longest}`);
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  if (/^lib\/(index|internal)\.ts$/.test(path) && !source.statements.every(ts.isExportDeclaration))
    faults.push('is for exports, and holds code');
  if (path.startsWith('lib/')) faults.push(...drawn(source));
  faults.push(...swallowed(source));
  return faults;
}

/** Each use of `console`, `process.stdout` and `process.stderr`. */
function drawn(node: ts.Node): string[] {
  const here: string[] = [];
  if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
    if (node.expression.text === 'console') here.push('uses console');
    if (node.expression.text === 'process' && /^std(out|err)$/.test(node.name.text))
      here.push(`uses process.${node.name.text}`);
  }
  ts.forEachChild(node, (child) => {
    here.push(...drawn(child));
  });
  return here;
}

/** The first circle of imports found, as a path that ends where it began. */
function circle(tree: Tree): string[] | undefined {
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): string[] | undefined => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return undefined;
    for (const target of importsOf(path, tree).filter((file) => tree.has(file))) {
      const found = walk(target, [...trail, path]);
      if (found !== undefined) return found;
    }
    done.add(path);
    return undefined;
  };
  for (const path of tree.keys()) {
    const found = walk(path, []);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * Each place that throws a failure away without a word why, on its lines or on one of the few before it: `catch {`, and
 * a callback that takes no failure, of `.catch`, of a rejection, or of an event where it does nothing.
 */
function swallowed(source: ts.SourceFile): string[] {
  const lines = source.text.split('\n');
  const lineOf = (position: number): number => source.getLineAndCharacterOfPosition(position).line;
  const faults: string[] = [];
  const visit = (node: ts.Node): void => {
    const begins = lineOf(node.getStart(source));
    const around = lines.slice(Math.max(0, begins - 3), lineOf(node.getEnd()) + 1);
    if (swallows(node) && !around.some((line) => /\/\/|^\s*\/?\*/.test(line)))
      faults.push(`swallows a failure in line ${String(begins + 1)} without saying why`);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return faults;
}

function swallows(node: ts.Node): boolean {
  if (ts.isCatchClause(node))
    return node.variableDeclaration === undefined && !node.block.statements.some(ts.isThrowStatement);
  if (!ts.isArrowFunction(node) || node.parameters.length > 0) return false;
  const call = node.parent;
  if (!ts.isCallExpression(call) || !ts.isPropertyAccessExpression(call.expression)) return false;
  const isNothing = ts.isBlock(node.body)
    ? node.body.statements.length === 0
    : ts.isIdentifier(node.body) && node.body.text === 'undefined';
  const { text: method } = call.expression.name;
  if (method === 'catch') return true;
  return call.arguments[1] === node && isNothing && ['on', 'once', 'then'].includes(method);
}

/** The types that stand in more than one file of lib: one word has one meaning. */
function twofold(tree: Tree): string[] {
  const places = new Map<string, string[]>();
  for (const [path, text] of tree) {
    if (!path.startsWith('lib/')) continue;
    for (const statement of ts.createSourceFile(path, text, ts.ScriptTarget.Latest).statements) {
      const isType =
        ts.isInterfaceDeclaration(statement) ||
        ts.isTypeAliasDeclaration(statement) ||
        ts.isClassDeclaration(statement) ||
        ts.isEnumDeclaration(statement);
      if (!isType || !statement.name) continue;
      const { text: name } = statement.name;
      places.set(name, [...(places.get(name) ?? []), path]);
    }
  }
  return [...places].flatMap(([name, paths]) => {
    const files = [...new Set(paths)];
    return files.length > 1 ? [`${name} is a type in ${files.join(' and in ')}`] : [];
  });
}

/** Everything that breaks the layers, a sentence each. */
function faultsOf(tree: Tree): string[] {
  const faults: string[] = [];
  for (const [path, text] of tree) {
    faults.push(...fileFaults(path, text).map((fault) => `${path} ${fault}`));
    for (const target of importsOf(path, tree)) {
      const fault = importFault(path, target, tree);
      if (fault !== undefined) faults.push(`${path} imports ${target}: ${fault}`);
    }
  }
  faults.push(...twofold(tree));
  const found = circle(tree);
  if (found !== undefined) faults.push(`a circle: ${found.join(' -> ')}`);
  return faults;
}

function readTree(): Tree {
  const root = join(__dirname, '..');
  const tree = new Map<string, string>();
  for (const top of ['lib', 'cli']) {
    for (const file of readdirSync(join(root, top), { recursive: true, encoding: 'utf8' })) {
      if (file.endsWith('.ts'))
        tree.set(`${top}/${file.replaceAll('\\', '/')}`, readFileSync(join(root, top, file), 'utf8'));
    }
  }
  return tree;
}

describe('the layers', () => {
  it('are kept by every file of lib and cli', () => {
    const tree = readTree();
    expect(tree.size).to.be.greaterThan(1);
    expect(faultsOf(tree)).to.deep.equal([]);
  });

  const bottom = { 'lib/errors.ts': '', 'lib/name.ts': '', 'lib/progress.ts': '', 'lib/digest/digest.ts': '' };
  const faultsIn = (files: Record<string, string>): string[] =>
    faultsOf(new Map(Object.entries({ ...bottom, ...files })));

  it('allow what points downwards', () => {
    const good = {
      'cli/main.ts':
        "import { send } from '../lib/index';\nimport { Command } from 'commander';\nconsole.log(send, Command);",
      'lib/index.ts': "export { send } from './send/sender';\nexport type { Phase } from './progress';",
      'lib/receive/receiver.ts':
        "import { x } from '../net/connection';\nimport type { Store } from '../store/contract';",
      'lib/send/sender.ts': "import { x } from '../net/connection';",
      'lib/net/connection.ts': "import { encodeFrame } from '../wire/frame';\nimport { dial } from './socket';",
      'lib/net/socket.ts': "import net from 'node:net';\nimport { TransferError } from '../errors';",
      'lib/store/contract.ts': "const x = require('../digest/digest') as typeof import('../digest/digest');",
      'lib/wire/frame.ts': "import { TransferError } from '../errors';\nimport { TextDecoder } from 'node:util';",
    };
    expect(faultsIn(good)).to.deep.equal([]);
  });

  const bad: readonly [what: string, files: Record<string, string>, fault: RegExp][] = [
    [
      'an import upwards',
      { 'lib/store/local/local.ts': "import '../../receive/receiver';", 'lib/receive/receiver.ts': '' },
      /store may not import receive/,
    ],
    [
      'a failure that is swallowed',
      { 'lib/net/socket.ts': 'const x = close().catch(() => undefined);' },
      /swallows a failure in line 1/,
    ],
    [
      'a catch without a word why',
      { 'lib/net/socket.ts': 'let x = 0;\ntry {\n  x = read();\n} catch {\n  x = 1;\n}' },
      /swallows a failure in line 4/,
    ],
    [
      'an event of failure that nobody hears',
      { 'lib/net/socket.ts': "server.on('error', () => undefined);" },
      /swallows a failure in line 1/,
    ],
    [
      'one word for two types',
      { 'lib/net/socket.ts': 'interface Run {}', 'lib/send/sender.ts': 'class Run {}' },
      /Run is a type in lib\/net\/socket.ts and in lib\/send\/sender.ts/,
    ],
    [
      'an import of a sibling',
      { 'lib/store/local/local.ts': "import '../../net/socket';", 'lib/net/socket.ts': '' },
      /store may not import net/,
    ],
    [
      'the same the other way',
      { 'lib/net/socket.ts': "import '../store/local/local';", 'lib/store/local/local.ts': '' },
      /net may not import store/,
    ],
    [
      'export from',
      { 'lib/wire/frame.ts': "export * from '../net/connection';", 'lib/net/connection.ts': '' },
      /wire may not import net/,
    ],
    [
      'a require',
      { 'lib/threads/order-worker.ts': "const f = require('../wire/frame');", 'lib/wire/frame.ts': '' },
      /bottom may not import wire/,
    ],
    [
      'a lazy import',
      { 'lib/digest/digest.ts': "void import('../net/connection');", 'lib/net/connection.ts': '' },
      /digest may not import net/,
    ],
    [
      'a type of an import',
      { 'lib/name.ts': "type T = typeof import('./net/connection');", 'lib/net/connection.ts': '' },
      /bottom may not import net/,
    ],
    [
      'a command that looks past the index',
      { 'cli/main.ts': "import '../lib/errors';", 'lib/index.ts': '' },
      /cli may not import bottom/,
    ],
    [
      'a library that knows the command line',
      { 'lib/net/connection.ts': "import '../../cli/exit';", 'cli/exit.ts': '' },
      /net may not import cli/,
    ],
    ['sockets in the wire', { 'lib/wire/frame.ts': "import net from 'node:net';" }, /wire is pure/],
    ['files in the wire, without node:', { 'lib/wire/frame.ts': "import fs from 'fs/promises';" }, /wire is pure/],
    ['digests in the wire', { 'lib/wire/frame.ts': "import '../digest/digest';" }, /only errors, names and words/],
    ['bars in the library', { 'lib/net/connection.ts': "import 'cli-progress';" }, /does not draw/],
    ['a file that is not there', { 'lib/net/connection.ts': "import './gone';" }, /no such file/],
    ['a file of no layer', { 'lib/stuff.ts': '' }, /belongs to no layer/],
    ['code in the index', { 'lib/index.ts': 'export const x = 1;' }, /holds code/],
    ['a console in lib', { 'lib/net/connection.ts': 'console.warn(1);' }, /uses console/],
    ['stderr in lib', { 'lib/net/connection.ts': 'process.stderr.write("");' }, /uses process\.stderr/],
    ['a room named after nothing', { 'lib/store/path-utils.ts': '' }, /named after nothing/],
    ['a long file', { 'cli/main.ts': '\n'.repeat(501) }, /501 lines/],
    [
      'a circle',
      { 'lib/name.ts': "import './errors';", 'lib/errors.ts': "import './name';" },
      /a circle: lib\/errors.ts -> lib\/name.ts -> lib\/errors.ts/,
    ],
  ];
  for (const [what, files, fault] of bad) {
    it(`forbid ${what}`, () => {
      const faults = faultsIn(files);
      expect(faults).to.have.length(1);
      expect(faults[0]).to.match(fault);
    });
  }
});
