// The options of commands that store into an object store, and what the library is told of it.
import type { Command } from 'commander';
import type { ReceiverOptions } from '../lib/index';
import { isObjectUrl, parseObjectUrl } from '../lib/internal';
import { wrongUsage } from './usage';
import { library } from './library';

/** As commander names them. */
export interface ObjectFlags {
  readonly endpoint?: string;
  readonly region?: string;
  readonly credentials?: string;
  readonly trustStore?: boolean;
  readonly singleReceiver?: boolean;
}

export function describeObjects(command: Command): Command {
  return describeObjectStore(command)
    .option('--trust-store', 'with s3://: read nothing back; receipts say "accepted" and not "store"')
    .option(
      '--single-receiver',
      'with s3://: no other receiver stores there; for stores that cannot keep two of them from one name',
    );
}

/** The options of commands that read and write snapshots: those that say where and who. */
export function describeObjectStore(command: Command): Command {
  return command
    .option('--endpoint <URL>', 'with s3://: where the store answers; default: AWS_ENDPOINT_URL_S3, else AWS')
    .option('--region <REGION>', 'with s3://: default AWS_REGION, else us-east-1')
    .option(
      '--credentials <FILE>',
      'with s3://: a private file of the form of ~/.aws/credentials; default: AWS_ACCESS_KEY_ID and so on, else that file',
    );
}

/** The object store that `pathname` names; undefined for a directory. Throws `usage`. */
export function objectStoreOf(pathname: string, flags: ObjectFlags): ReceiverOptions['objects'] {
  const { endpoint, region, credentials, trustStore, singleReceiver } = flags;
  if (!isObjectUrl(pathname)) {
    if (endpoint !== undefined || region !== undefined || credentials !== undefined || trustStore || singleReceiver)
      throw wrongUsage(
        '--endpoint, --region, --credentials, --trust-store and --single-receiver go with s3://BUCKET/PREFIX.',
      );
    return undefined;
  }
  const { load } = library();
  const access = load.objectKeys().objectAccess({ endpoint, region, credentials });
  return { ...parseObjectUrl(pathname), ...access, trustStore, singleReceiver };
}
