/** An event as a sentence, in parts, so that each part is drawn in its own way. */
export interface Sentence {
  actor: string;
  verb: string;
  object: string;
  /** Without quotation marks; see `isQuote`. */
  detail: string;
  /** False where the event type stands in place of a verb that is not known. */
  isVerb: boolean;
  isQuote: boolean;
  isFailure: boolean;
}
