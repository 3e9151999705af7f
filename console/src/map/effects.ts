import { exploring, term } from "../common/terms";
import type { Pair } from "./model";

/** The explorer's search for the effects of a pair. The grammar has no word for a cause's type: it is all of the type. */
export function effects(pair: Pair, days: { from: string | null; to: string | null }) {
  const terms = [term("type", pair.effectType), ...(pair.failures === pair.events && pair.events > 0 ? [term("outcome", "failed")] : [])];
  return exploring(terms, { from: days.from ?? undefined, to: days.to ?? undefined });
}
