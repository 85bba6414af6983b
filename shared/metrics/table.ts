/**
 * Every metric of the platform: name, type, meaning, labels. Planes give numbers for these names alone, and labels have
 * values from closed sets, so that no tenant's name, key or path is ever one, and their number is bounded.
 */
import { EXIT_REASONS } from '../contracts/nodes.ts';
import { ERRORS } from '../errors.ts';
import { SHARED } from '../shared-things.ts';

export const PLANES = ['control', 'scheduler', 'gateway', 'node'] as const;
type PlaneRole = (typeof PLANES)[number];

/** How requests end at a gateway, beside the codes of errors. */
const OUTCOMES = ['ok', 'asset', 'bystander_retried', 'cut', 'client_gone'] as const;
const CODES = Object.keys(ERRORS);

/** Values of each label. `plane` and `id` say which process it is; the door of control adds them. */
export const LABELS = {
  outcome: [...OUTCOMES, ...CODES],
  code: CODES,
  status: ['1xx', '2xx', '3xx', '4xx', '5xx'],
  thing: Object.keys(SHARED),
  role: ['gateway', 'node', 'scheduler'],
  state: ['starting', 'ready', 'draining', 'stopping'],
  reason: EXIT_REASONS,
} as const satisfies Record<string, readonly string[]>;
export type LabelName = keyof typeof LABELS;

interface MetricRow {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly planes: readonly PlaneRole[];
  readonly label?: LabelName;
  /** Upper bounds of a histogram's buckets, beside +Inf. */
  readonly buckets?: readonly number[];
  readonly help: string;
}

/** A warm call takes a millisecond, a cold one some tens, the longest function 15 minutes. */
export const REQUEST_SECONDS_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60,
];

export const METRICS = {
  isoplane_up: {
    type: 'gauge',
    planes: PLANES,
    help: '1: the plane was asked and answered; 0: it did not within 2 s.',
  },
  isoplane_process_start_time_seconds: {
    type: 'gauge',
    planes: PLANES,
    help: 'Start of the process, seconds since the epoch: a change is a restart.',
  },
  isoplane_process_resident_memory_bytes: {
    type: 'gauge',
    planes: PLANES,
    help: 'Resident memory of the process.',
  },
  isoplane_process_heap_used_bytes: {
    type: 'gauge',
    planes: PLANES,
    help: 'Heap of the main thread that is in use.',
  },
  isoplane_process_cpu_seconds_total: {
    type: 'counter',
    planes: PLANES,
    help: 'CPU time of the process, all threads.',
  },
  isoplane_process_open_fds: { type: 'gauge', planes: PLANES, help: 'Open file descriptors of the process.' },
  isoplane_event_loop_busy_seconds_total: {
    type: 'counter',
    planes: PLANES,
    help: 'Time in which the event loop of the main thread did not wait: near 1 per second it is saturated.',
  },
  isoplane_share_used: {
    type: 'gauge',
    planes: ['control', 'scheduler', 'gateway'],
    label: 'thing',
    help: 'What all accounts together hold of a thing that they share (shared/shared-things.ts), in its unit.',
  },
  isoplane_share_total: {
    type: 'gauge',
    planes: ['control', 'scheduler', 'gateway'],
    label: 'thing',
    help: 'How much there is of it.',
  },
  isoplane_share_refusals_total: {
    type: 'counter',
    planes: ['control', 'scheduler', 'gateway'],
    label: 'thing',
    help: 'Requests refused because the share of their account was used up.',
  },
  isoplane_feed_revision: {
    type: 'gauge',
    planes: PLANES,
    help: 'Newest revision of the feed that the plane has applied; of control: that it has committed.',
  },
  isoplane_gateway_requests_total: {
    type: 'counter',
    planes: ['gateway'],
    label: 'outcome',
    help: 'Finished requests by how they ended: ok, asset, bystander_retried, cut, client_gone, or the code of the error.',
  },
  isoplane_gateway_request_seconds: {
    type: 'histogram',
    planes: ['gateway'],
    buckets: REQUEST_SECONDS_BUCKETS,
    help: 'From the head of a request to the end of its answer, for requests that found a function.',
  },
  isoplane_gateway_requests_in_flight: {
    type: 'gauge',
    planes: ['gateway'],
    help: 'Requests that are not finished.',
  },
  isoplane_gateway_cold_starts_total: {
    type: 'counter',
    planes: ['gateway'],
    help: 'Requests that waited for an instance to start.',
  },
  isoplane_gateway_retries_total: {
    type: 'counter',
    planes: ['gateway'],
    help: 'Attempts that were repeated at the same or another instance.',
  },
  isoplane_gateway_leases: { type: 'gauge', planes: ['gateway'], help: 'Leases on instances in hand.' },
  isoplane_gateway_requests_waiting: {
    type: 'gauge',
    planes: ['gateway'],
    help: 'Requests that wait for a lease.',
  },
  isoplane_scheduler_nodes: { type: 'gauge', planes: ['scheduler'], help: 'Nodes that are heard.' },
  isoplane_scheduler_gateways: {
    type: 'gauge',
    planes: ['scheduler'],
    help: 'Holders of leases that are heard.',
  },
  isoplane_scheduler_capacity: {
    type: 'gauge',
    planes: ['scheduler'],
    help: 'Instances that all nodes may have.',
  },
  isoplane_scheduler_instances: {
    type: 'gauge',
    planes: ['scheduler'],
    label: 'state',
    help: 'Instances by state.',
  },
  isoplane_scheduler_leases: { type: 'gauge', planes: ['scheduler'], help: 'Leases that are granted.' },
  isoplane_scheduler_versions_held: {
    type: 'gauge',
    planes: ['scheduler'],
    label: 'code',
    help: 'Versions of which no instance is started for now, by what their callers hear.',
  },
  isoplane_scheduler_grants_total: {
    type: 'counter',
    planes: ['scheduler'],
    help: 'Leases granted to who asked.',
  },
  isoplane_scheduler_refusals_total: {
    type: 'counter',
    planes: ['scheduler'],
    label: 'code',
    help: 'Answers to who asked for a lease and got none, by code.',
  },
  isoplane_scheduler_starts_failed_total: {
    type: 'counter',
    planes: ['scheduler'],
    label: 'code',
    help: 'Starts that a node refused or did not answer, by code.',
  },
  isoplane_node_capacity: { type: 'gauge', planes: ['node'], help: 'Instances that the node may have.' },
  isoplane_node_instances: { type: 'gauge', planes: ['node'], help: 'Instances, starting ones included.' },
  isoplane_node_slots_waiting: { type: 'gauge', planes: ['node'], help: 'Warm slots of standard tier.' },
  isoplane_node_sandbox_complete: {
    type: 'gauge',
    planes: ['node'],
    help: '1: functions are contained; 0: they are not, run your own code only.',
  },
  isoplane_node_starts_total: { type: 'counter', planes: ['node'], help: 'Instances that came up.' },
  isoplane_node_exits_total: {
    type: 'counter',
    planes: ['node'],
    label: 'reason',
    help: 'Ends of instances that had come up, by reason.',
  },
  isoplane_node_code_missing: {
    type: 'gauge',
    planes: ['node'],
    help: 'Served versions whose code is not on the node: they cannot start while control is away.',
  },
  isoplane_node_log_entries_lost_total: {
    type: 'counter',
    planes: ['node'],
    help: 'Log lines of functions that could not be kept.',
  },
  isoplane_control_requests_total: {
    type: 'counter',
    planes: ['control'],
    label: 'status',
    help: 'Answers of the control API by class of status.',
  },
  isoplane_control_feed_consumers: {
    type: 'gauge',
    planes: ['control'],
    label: 'role',
    help: 'Connected consumers of the feed.',
  },
  isoplane_control_feed_lag_revisions: {
    type: 'gauge',
    planes: ['control'],
    help: 'Revisions that the slowest live consumer is behind.',
  },
  isoplane_control_feed_items_skipped: {
    type: 'gauge',
    planes: ['control'],
    help: 'Items of the feed that some consumer could not read and goes without; `isoplane status` names them.',
  },
  isoplane_control_storage_free_bytes: {
    type: 'gauge',
    planes: ['control'],
    help: 'Free space of the disk under the data folder.',
  },
} as const satisfies Record<string, MetricRow>;

export type MetricName = keyof typeof METRICS;
export const rowOf = (name: MetricName): MetricRow => METRICS[name];
