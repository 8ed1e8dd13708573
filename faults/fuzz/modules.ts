import { join } from 'node:path';

/** The modules of one build: the code that is tried is not always the one that stands beside this file. */
export interface Modules {
  readonly errors: typeof import('../../lib/errors');
  readonly frame: typeof import('../../lib/wire/frame');
  readonly json: typeof import('../../lib/wire/json-object');
  readonly message: typeof import('../../lib/wire/message');
  readonly sessionMessage: typeof import('../../lib/wire/session-message');
  readonly list: typeof import('../../lib/wire/session-list');
  readonly basis: typeof import('../../lib/wire/basis');
  readonly segment: typeof import('../../lib/wire/segment');
  readonly manifest: typeof import('../../lib/snapshot/manifest/manifest');
  readonly name: typeof import('../../lib/name');
  readonly ticket: typeof import('../../lib/net/ticket');
  readonly tls: typeof import('../../lib/net/tls');
  readonly net: typeof import('../../lib/net/socket');
  readonly index: typeof import('../../lib/index');
}

/** `build` has a directory lib, of .js or, where TypeScript is understood, of .ts. */
export function modulesOf(build: string): Modules {
  const load = <Module>(name: string): Module => require(join(build, 'lib', name)) as Module;
  return {
    errors: load('errors'),
    frame: load('wire/frame'),
    json: load('wire/json-object'),
    message: load('wire/message'),
    sessionMessage: load('wire/session-message'),
    list: load('wire/session-list'),
    basis: load('wire/basis'),
    segment: load('wire/segment'),
    manifest: load('snapshot/manifest/manifest'),
    name: load('name'),
    ticket: load('net/ticket'),
    tls: load('net/tls'),
    net: load('net/socket'),
    index: load('index'),
  };
}
