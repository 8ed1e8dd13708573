import { workerData } from 'node:worker_threads';
import { serveEach } from '../threads/order-worker';
import { BundleReading, type BundleSetup } from './bundle-reading';

const reading = new BundleReading(workerData as BundleSetup);
serveEach((order: Parameters<BundleReading['carryOut']>[0]) => reading.carryOut(order));
