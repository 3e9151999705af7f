/** The search of an address: every value is a text, so that an address reads as one writes it. */
export type Search = Record<string, string | undefined>;
