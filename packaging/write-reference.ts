// npm run reference: writes what belongs into the repository. With the name of a directory: the manual pages, there.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { manualPages, referenceFiles } from './reference';

const [directory] = process.argv.slice(2);
const files = directory === undefined ? referenceFiles() : manualPages();
for (const [name, text] of Object.entries(files)) {
  const place = path.join(directory ?? path.join(__dirname, '..'), name);
  mkdirSync(path.dirname(place), { recursive: true });
  writeFileSync(place, text);
}
