import { join } from 'node:path';

/** The modules of one build: the code that is tried is not always the one that stands beside this file. */
export interface Modules {
  readonly errors: typeof import('../../lib/errors');
  readonly frame: typeof import('../../lib/protocol/frame');
  readonly json: typeof import('../../lib/protocol/json-object');
  readonly message: typeof import('../../lib/protocol/message');
  readonly sessionMessage: typeof import('../../lib/protocol/session-message');
  readonly list: typeof import('../../lib/protocol/session-list');
  readonly standing: typeof import('../../lib/protocol/standing');
  readonly segment: typeof import('../../lib/protocol/segment');
  readonly manifest: typeof import('../../lib/snapshot/manifest');
  readonly name: typeof import('../../lib/name');
  readonly ticket: typeof import('../../lib/transport/ticket');
  readonly tls: typeof import('../../lib/transport/tls');
  readonly net: typeof import('../../lib/transport/net');
  readonly index: typeof import('../../lib/index');
}

/** `build` has a directory lib, of .js or, where TypeScript is understood, of .ts. */
export function modulesOf(build: string): Modules {
  const load = <Module>(name: string): Module => require(join(build, 'lib', name)) as Module;
  return {
    errors: load('errors'),
    frame: load('protocol/frame'),
    json: load('protocol/json-object'),
    message: load('protocol/message'),
    sessionMessage: load('protocol/session-message'),
    list: load('protocol/session-list'),
    standing: load('protocol/standing'),
    segment: load('protocol/segment'),
    manifest: load('snapshot/manifest'),
    name: load('name'),
    ticket: load('transport/ticket'),
    tls: load('transport/tls'),
    net: load('transport/net'),
    index: load('index'),
  };
}
