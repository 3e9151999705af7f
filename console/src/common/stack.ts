/** Bars stacked by outcome. Pure. */
export interface Part {
  key: string;
  y: number;
  height: number;
}

const ORDER = ["failure", "success", "none"];
/** A failure is never too small to be seen. */
const LEAST_FAILURE = 3;

/** The parts of one bar, from its base: failures, successes, the rest. Together they are at most as high as the picture. */
export function stacked(counts: readonly number[], keys: readonly string[], most: number, height: number): Part[] {
  const parts = counts
    .map((count, index) => ({ key: keys[index] ?? "none", count }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => rank(a.key) - rank(b.key));
  const tall = parts.map(({ key, count }) => Math.max(key === "failure" ? LEAST_FAILURE : 0, (count / Math.max(1, most)) * height));
  const sum = tall.reduce((total, each) => total + each, 0);
  const shrink = sum > height ? height / sum : 1;
  let y = height;
  return parts.map(({ key }, index) => {
    const part = (tall[index] ?? 0) * shrink;
    y -= part;
    return { key, y, height: part };
  });
}

const rank = (key: string) => (ORDER.indexOf(key) < 0 ? ORDER.length : ORDER.indexOf(key));
