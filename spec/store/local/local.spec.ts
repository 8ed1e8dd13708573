import { existsSync } from 'node:fs';
import { storeConformance } from '../conformance';
import { openLocal } from './local-place';
describe('LocalStore on a disk', () => storeConformance(() => openLocal(), 'device'));
describe('LocalStore on tmpfs', function () {
  if (existsSync('/dev/shm')) storeConformance(() => openLocal('/dev/shm'), 'cache');
});
