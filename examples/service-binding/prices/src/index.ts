import { RpcTarget, WorkerEntrypoint } from 'cloudflare:workers';

const prices = new Map([
  ['tea', 4],
  ['milk', 1],
]);

/** Lives in this function while the caller holds it. */
class Basket extends RpcTarget {
  #total = 0;

  add(item: string): number {
    const price = prices.get(item);
    if (price === undefined) throw new RangeError(`there is no ${item}`);
    this.#total += price;
    return this.#total;
  }
}

export default class Prices extends WorkerEntrypoint {
  override fetch(): Response {
    return Response.json(Object.fromEntries(prices));
  }

  basket(): Basket {
    return new Basket();
  }
}

export class Admin extends WorkerEntrypoint {
  raise(item: string, by: number): number {
    const price = (prices.get(item) ?? 0) + by;
    prices.set(item, price);
    return price;
  }
}
