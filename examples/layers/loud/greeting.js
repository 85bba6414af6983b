export const greeting = (name) => `HELLO, ${name.toUpperCase()}!`;
