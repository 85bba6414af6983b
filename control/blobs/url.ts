/** How settings name a bucket: `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`. */
import { z } from 'zod';

export interface BucketPlace {
  readonly bucket: string;
  /** Of every key: empty, or ends in a slash. */
  readonly prefix: string;
  /** Of the S3 API. */
  readonly endpoint: string;
  readonly region: string;
}

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const PREFIX = /^(?:[\w.-]{1,100}\/){0,5}$/;
const REGION = /^[a-z0-9-]{1,40}$/;

/** @returns what is wrong with it, as text. */
function placeOf(text: string): BucketPlace | string {
  if (!URL.canParse(text) || !text.startsWith('s3://')) return 'use s3://BUCKET?endpoint=URL&region=NAME';
  const { host, pathname, searchParams, username, password } = new URL(text);
  if (username !== '' || password !== '')
    return 'the keys do not belong in the address: set them by their own settings';
  const unknown = [...searchParams.keys()].find((name) => name !== 'endpoint' && name !== 'region');
  if (unknown !== undefined) return `the address takes endpoint and region, not ${unknown}`;
  if (!BUCKET.test(host)) return 'that is no name of a bucket';
  const folder = pathname.replace(/^\//, '');
  const prefix = folder === '' || folder.endsWith('/') ? folder : `${folder}/`;
  if (!PREFIX.test(prefix)) return 'the path takes letters, digits and - . _ between slashes';
  const region = searchParams.get('region') ?? 'us-east-1';
  if (!REGION.test(region)) return 'that is no name of a region';
  const endpoint = searchParams.get('endpoint') ?? `https://s3.${region}.amazonaws.com`;
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol))
    return 'the endpoint is an address: http:// or https://';
  return { bucket: host, prefix, endpoint, region };
}

export const bucketUrlSchema = z
  .string()
  .max(2_000)
  .transform((text, context) => {
    const place = placeOf(text);
    if (typeof place !== 'string') return place;
    context.addIssue({ code: 'custom', message: place });
    return z.NEVER;
  });
