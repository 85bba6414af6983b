export declare const greeting: (name: string) => string;
