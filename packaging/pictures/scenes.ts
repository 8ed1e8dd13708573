// What the pictures of README.md show, each made by running it.
import { randomFillSync } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import path from 'node:path';
import { Shell, type Shot } from './shell';

const root = path.join(__dirname, '..', '..');
const mib = 1024 ** 2;
const columns = 100;
/** A key as pictures show it: 64 characters of which nobody has the secret. */
const exampleKey = 'pK3vXw7Qm-T2cLr9bYfJ0aZs6uHdE1gNiOx4RkVtWq8SyBPoMlUCeGjD5_hAnFzI';

/** A ticket that was printed to its end. */
const wholeTicket = /sendall:\/\/[\w.:[\]]+\/[\w-]{64}/;

/** Two machines in one directory: commands of this build, homes and files of their own. */
class Stage {
  readonly directory = mkdtempSync(path.join(tmpdir(), 'sendall-picture-'));
  private readonly shells: Shell[] = [];

  constructor() {
    const bin = path.join(this.directory, 'bin');
    mkdirSync(bin);
    const command = path.join(bin, 'sendall');
    writeFileSync(
      command,
      `#!/bin/sh\nexec '${process.execPath}' '${path.join(root, 'dist', 'cli', 'main.js')}' "$@"\n`,
    );
    chmodSync(command, 0o755);
  }

  file(name: string, size: number): void {
    const place = path.join(this.directory, name);
    mkdirSync(path.dirname(place), { recursive: true });
    writeFileSync(place, randomFillSync(Buffer.alloc(size)));
  }

  /** A terminal of `user` at a machine; `home` stands for the directory that commands run in. */
  shell(title: string, home: string, place: string): Shell {
    const cwd = path.join(this.directory, place);
    mkdirSync(cwd, { recursive: true });
    const env = {
      PATH: `${path.join(this.directory, 'bin')}:${process.env['PATH'] ?? ''}`,
      HOME: cwd,
      LANG: 'C.UTF-8',
      TZ: 'UTC',
    };
    const replaced: [string | RegExp, string][] = [
      [cwd, home],
      [this.directory, home],
      [/\[::\]:\d+/g, '[::]:8898'],
      [/tcp:\/\/127\.0\.0\.1:\d+/g, 'tcp://127.0.0.1:8898'],
      [/(?<!tcp:\/\/)127\.0\.0\.1:\d+/g, '192.168.1.20:8898'],
      [/(sendall:\/\/[^/\s]+\/)[\w-]{64}/g, `$1${exampleKey}`],
      [/\d{4}-[a-z]{3,8}-[a-z]{3,8}/g, '4821-crane-velvet'],
      [hostname(), 'server'],
    ];
    const shell = new Shell({ title, cwd, env, columns, replaced });
    this.shells.push(shell);
    return shell;
  }

  end(): void {
    for (const shell of this.shells) shell.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Each scene: the screens that make its picture. */
export const scenes: Readonly<Record<string, () => Promise<readonly Shot[]>>> = {
  'first-transfer': () =>
    onStage(async (stage) => {
      stage.file('laptop/disk.img', 96 * mib);
      for (let at = 1; at <= 12; at++) stage.file(`laptop/photos/2026-${String(at).padStart(2, '0')}.jpg`, 300_000);
      const server = stage.shell('anna@server', '/home/anna', 'server');
      const laptop = stage.shell('ben@laptop', '/home/ben', 'laptop');
      const receiver = server.run('sendall receive inbox --listen [::]:0 --address 127.0.0.1', 'sendall receive inbox');
      const [ticket] = await receiver.says(wholeTicket);
      await laptop.run(`sendall send disk.img photos/ ${ticket}`).ended;
      await receiver.says(/13 files[^\n]*verified/);
      const shots = [await server.shot(), await laptop.shot()];
      await receiver.interrupt();
      return shots;
    }),

  resume: () =>
    onStage(async (stage) => {
      stage.file('laptop/disk.img', 48 * mib);
      const server = stage.shell('anna@server', '/home/anna', 'server');
      const laptop = stage.shell('ben@laptop', '/home/ben', 'laptop');
      const receiver = server.run('sendall receive inbox --listen 127.0.0.1:0 --no-plain');
      const [ticket] = await receiver.says(wholeTicket);
      writeFileSync(path.join(stage.directory, 'laptop', 'ticket'), ticket, { mode: 0o600 });
      const command = 'sendall send disk.img @ticket --limit 16M';
      const sender = laptop.run(command);
      await sender.says(/ (?:5\d|6\d) %/);
      const before = await laptop.shot();
      await sender.interrupt();
      await laptop.run(command).ended;
      const after = await laptop.shot();
      await receiver.interrupt();
      return [
        { ...before, title: 'ben@laptop, on the way' },
        { ...after, title: 'ben@laptop, interrupted and started again' },
      ];
    }),

  backup: () =>
    onStage(async (stage) => {
      for (let at = 1; at <= 40; at++) stage.file(`laptop/Documents/letters/${String(at)}.odt`, 40_000 + at);
      stage.file('laptop/Documents/thesis.pdf', 24 * mib);
      mkdirSync(path.join(stage.directory, 'laptop', 'disk'), { mode: 0o700 });
      const laptop = stage.shell('ben@laptop', '/home/ben', 'laptop');
      await laptop.run('sendall backup Documents disk --name laptop').ended;
      stage.file('laptop/Documents/letters/41.odt', 50_000);
      await new Promise((resolve) => setTimeout(resolve, 1100)); // snapshots are named by the second
      for (const command of [
        'sendall backup Documents disk --name laptop',
        'sendall snapshots disk',
        'sendall verify disk',
        'sendall restore disk laptop/latest back Documents/letters',
      ])
        await laptop.run(command).ended;
      return [await laptop.shot()];
    }),
};

async function onStage(act: (stage: Stage) => Promise<readonly Shot[]>): Promise<readonly Shot[]> {
  const stage = new Stage();
  try {
    return await act(stage);
  } finally {
    stage.end();
  }
}
