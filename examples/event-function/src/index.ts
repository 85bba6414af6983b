interface Order {
  readonly items: readonly { readonly name: string; readonly price: number; readonly quantity: number }[];
}

interface Context {
  readonly requestId: string;
  readonly env: { readonly CURRENCY: string };
}

/** Event style: JSON in, JSON out; what it returns is the answer, what it throws is a function error. */
export const handler = async (event: Order, context: Context) => {
  if (!Array.isArray(event?.items)) throw new TypeError('the event needs `items`');
  const total = event.items.reduce((sum, item) => sum + item.price * item.quantity, 0);
  return { total, currency: context.env.CURRENCY, requestId: context.requestId };
};
