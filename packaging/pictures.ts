// npm run pictures: writes docs/pictures/*.svg, what a person sees, by running it in a terminal. Needs script(1).
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { scenes } from './pictures/scenes';
import { svgOf } from './pictures/svg';

async function main(): Promise<void> {
  const place = path.join(__dirname, '..', 'docs', 'pictures');
  mkdirSync(place, { recursive: true });
  for (const [name, scene] of Object.entries(scenes))
    writeFileSync(path.join(place, `${name}.svg`), svgOf(await scene()));
}

void main();
