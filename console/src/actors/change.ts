/** How a figure changed against the period before. Pure. */
export interface Totals {
  total: number;
  successes: number;
  failures: number;
}

/** The share of failures, or null without events. */
export function failureRate({ total, failures }: Totals): number | null {
  return total === 0 ? null : failures / total;
}

export function percentText(share: number | null): string {
  if (share === null) return "–";
  if (share === 0) return "0 %";
  const percent = share * 100;
  return percent < 0.05 ? "<0.1 %" : `${percent.toFixed(percent < 10 ? 1 : 0)} %`;
}

export interface Change {
  text: string;
  /** Whether more fails than before. */
  isWorse: boolean;
}

/** The change of the failure rate in points of percent, or null where there is nothing to compare with. */
export function rateChange(now: Totals, previous: Totals | null | undefined): Change | null {
  const before = previous ? failureRate(previous) : null;
  const rate = failureRate(now);
  if (before === null || rate === null) return null;
  const points = (rate - before) * 100;
  if (Math.abs(points) < 0.05) return { text: "as before", isWorse: false };
  return { text: `${points > 0 ? "+" : "−"}${Math.abs(points).toFixed(1)} pt`, isWorse: points > 0 };
}

/** Errors that differ only in numbers and quoted names are one reason; the most frequent first. */
export function reasonsOf(details: readonly string[]): { reason: string; count: number }[] {
  const counts = new Map<string, number>();
  for (const detail of details) {
    const reason = detail.replace(/(["'“`]).{1,80}?["'”`]/g, "…").replace(/\b[\w-]*\d[\w.:-]*/g, "…").replace(/(…[\s,]*)+…/g, "…").trim();
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  return [...counts].map(([reason, count]) => ({ reason, count })).sort((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1));
}
