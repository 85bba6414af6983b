export declare const names: readonly string[];
