/** The process map as a graph to draw. Pure. */

export interface Pair {
  causeType: string;
  effectType: string;
  events: number;
  failures: number;
  share: number;
  p50Us: number | null;
  p95Us: number | null;
  skewed: number;
}

export interface MapNode {
  type: string;
  /** Events of this type in the period, if they were counted. */
  events: number | null;
  outcome: "success" | "failure" | "none";
}

export interface MapEdge {
  pair: Pair;
  /** In pixels: 16 for the most frequent pair, never below 1. */
  width: number;
  /** 0 to 1. */
  failureShare: number;
  isDashed: boolean;
}

export interface MapModel {
  nodes: MapNode[];
  edges: MapEdge[];
  /** Pairs that the picture leaves out, the least frequent ones. The table has them all. */
  leftOut: number;
}

/** More lines than this nobody can follow. */
export const EDGES_MAX = 40;

export const WIDTH_MAX = 16;

export function pairKey({ causeType, effectType }: { causeType: string; effectType: string }): string {
  return `${causeType} ${effectType}`;
}

/** The picture's nodes and edges: the most frequent pairs, with a failing pair before an equally frequent other. */
export function modelOf(pairs: readonly Pair[], counts: ReadonlyMap<string, number>, edgesMax = EDGES_MAX): MapModel {
  const most = pairs.reduce((max, { events }) => Math.max(max, events), 0);
  const drawn = [...pairs].sort((a, b) => b.events - a.events || b.failures - a.failures).slice(0, edgesMax);
  const edges = drawn.map((pair): MapEdge => {
    const failureShare = pair.events === 0 ? 0 : pair.failures / pair.events;
    return {
      pair,
      width: Math.max(1, most === 0 ? 1 : (WIDTH_MAX * pair.events) / most),
      failureShare,
      isDashed: failureShare >= 0.5,
    };
  });
  const types = [...new Set(drawn.flatMap(({ causeType, effectType }) => [causeType, effectType]))];
  return {
    nodes: types.map((type) => ({ type, events: counts.get(type) ?? null, outcome: outcomeOf(type, pairs) })),
    edges,
    leftOut: pairs.length - drawn.length,
  };
}

const SUCCESS = /\.[a-z_]*(completed|complete|succeeded|approved|delivered|verified|sent)$/;

/** How a type is marked: failed if all its events as effects failed, else by its last word, as the log marks it. */
function outcomeOf(type: string, pairs: readonly Pair[]): MapNode["outcome"] {
  const into = pairs.filter(({ effectType }) => effectType === type);
  const events = into.reduce((sum, pair) => sum + pair.events, 0);
  const failures = into.reduce((sum, pair) => sum + pair.failures, 0);
  if (events > 0 && failures === events) return "failure";
  return SUCCESS.test(type) ? "success" : "none";
}

export interface Point {
  x: number;
  y: number;
}

/** A smooth path through points, and the arrow's head at its end. The path ends where the head begins. */
export function arrow(points: readonly Point[], width: number): { path: string; head: string } {
  const end = points[points.length - 1];
  const before = points[points.length - 2];
  const start = points[0];
  if (!start || !end || !before) return { path: "", head: "" };
  const size = 6 + width * 0.6;
  const distance = Math.hypot(end.x - before.x, end.y - before.y) || 1;
  const ux = (end.x - before.x) / distance;
  const uy = (end.y - before.y) / distance;
  const neck = { x: end.x - ux * size, y: end.y - uy * size };
  const half = 3 + width * 0.75;
  const head = `M${round(end.x)} ${round(end.y)}L${round(neck.x - uy * half)} ${round(neck.y + ux * half)}L${round(neck.x + uy * half)} ${round(neck.y - ux * half)}Z`;
  return { path: smooth([...points.slice(0, -1), neck]), head };
}

/** Through every point (Catmull-Rom), so that a count lies on its line. */
function smooth(points: readonly Point[]): string {
  const first = points[0];
  if (!first) return "";
  let path = `M${round(first.x)} ${round(first.y)}`;
  for (let at = 0; at + 1 < points.length; at++) {
    const from = points[at] as Point;
    const to = points[at + 1] as Point;
    const before = points[at - 1] ?? from;
    const after = points[at + 2] ?? to;
    const c1 = { x: from.x + (to.x - before.x) / 6, y: from.y + (to.y - before.y) / 6 };
    const c2 = { x: to.x - (after.x - from.x) / 6, y: to.y - (after.y - from.y) / 6 };
    path += `C${round(c1.x)} ${round(c1.y)} ${round(c2.x)} ${round(c2.y)} ${round(to.x)} ${round(to.y)}`;
  }
  return path;
}

const round = (value: number) => Math.round(value * 10) / 10;
