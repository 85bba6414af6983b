/**
 * What functions used, on its way to the control plane.
 *
 *   POST /internal/usage   UsageReport → 204, every LIMITS.usageReportMs and at a plane's stop.
 *
 * Gateways report requests and bytes, nodes CPU, memory and egress. Amounts are what was used since the
 * report before. A report is applied once: `source` names one run of a plane and `sequence` rises by one, so
 * that a repeated report (its answer was lost) changes nothing.
 */
import { z } from 'zod';
import { accountNameSchema, functionNameSchema } from '../ids.ts';

const amount = z.number().min(0).default(0);

const usageAmountsSchema = z.object({
  /** Requests that reached a function, service calls included. */
  requests: amount,
  /** Of those, answered with an error of the function or the platform. */
  errors: amount,
  cpuMs: amount,
  /** Memory limit times life of the instances, in MB·ms; 1 GB·s is 1,000,000. */
  memoryMbMs: amount,
  requestBytes: amount,
  responseBytes: amount,
  egressRequests: amount,
  egressBytes: amount,
});

export const usageReportSchema = z.object({
  source: z.string().min(1).max(200),
  sequence: z.number().int().min(1),
  entries: z
    .array(
      z.object({ account: accountNameSchema, function: functionNameSchema, amounts: usageAmountsSchema }),
    )
    .max(50_000),
});

export type UsageAmounts = z.infer<typeof usageAmountsSchema>;
export type UsageReport = z.infer<typeof usageReportSchema>;
