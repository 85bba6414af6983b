/** Weights of an alias on the command line and in text. */
import { weightsSchema, type Weights } from '#shared/contracts/api.ts';
import { argument, usage } from './arguments.ts';

/** `3` → all traffic; `3=90 4=10` → a split. */
export function parseWeights(given: readonly string[]): Weights {
  const weights = given.map((text) => {
    const match = /^(\d+)(?:=(\d+))?$/.exec(text);
    if (match === null || (match[2] === undefined && given.length > 1))
      throw usage(
        `weights: write one version number, or VERSION=PERCENT for each (given: ${JSON.stringify(text)})`,
      );
    return { version: Number(match[1]), weight: match[2] === undefined ? 100 : Number(match[2]) };
  });
  return argument('weights', weights, weightsSchema);
}

export function weightsText(weights: Weights): string {
  if (weights.length === 1) return `version ${weights[0]?.version}`;
  return weights.map(({ version, weight }) => `version ${version} (${weight} %)`).join(', ');
}
