/** How much is measured. Quick shows that the bench works; its figures mean little. */
export interface BenchScale {
  readonly sandbox: 'auto' | 'required' | 'off';
  readonly connections: readonly number[];
  readonly warmRounds: number;
  readonly warmRoundMs: number;
  readonly warmUpMs: number;
  /** Once per candidate, before the first round. */
  readonly firstWarmUpMs: number;
  readonly coldFunctions: number;
  readonly coldAtOnce: number;
  readonly publishes: number;
  readonly rollbacks: number;
  readonly idleInstances: number;
  readonly fleet: number;
  readonly attacks: number;
  /** Functions that flood their logs at once, and for how long. */
  readonly floods: number;
  readonly floodMs: number;
  readonly residentInstances: number;
  readonly bindingCalls: number;
  readonly bindingRounds: number;
  /** Without and with each attack on a shared thing, in turn. */
  readonly shareRounds: number;
  readonly shareRoundMs: number;
  /** Each attack on the memory of the planes. */
  readonly bodyAttackMs: number;
}

type Amounts = Omit<BenchScale, 'sandbox'>;

export const FULL: Amounts = {
  connections: [1, 16, 32],
  warmRounds: 5,
  warmRoundMs: 3_000,
  warmUpMs: 700,
  firstWarmUpMs: 3_000,
  coldFunctions: 100,
  coldAtOnce: 50,
  publishes: 40,
  rollbacks: 100,
  idleInstances: 20,
  fleet: 500,
  attacks: 10,
  floods: 20,
  floodMs: 4_000,
  residentInstances: 2_000,
  bindingCalls: 4_000,
  bindingRounds: 3,
  shareRounds: 3,
  shareRoundMs: 4_000,
  bodyAttackMs: 15_000,
};

export const QUICK: Amounts = {
  connections: [1, 16],
  warmRounds: 1,
  warmRoundMs: 800,
  warmUpMs: 300,
  firstWarmUpMs: 1_500,
  coldFunctions: 8,
  coldAtOnce: 8,
  publishes: 5,
  rollbacks: 8,
  idleInstances: 5,
  fleet: 20,
  attacks: 2,
  floods: 5,
  floodMs: 800,
  residentInstances: 100,
  bindingCalls: 400,
  bindingRounds: 1,
  shareRounds: 1,
  shareRoundMs: 3_000,
  bodyAttackMs: 8_000,
};
