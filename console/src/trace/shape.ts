/** The drawing of the overview: lanes by actor, one path of causes, one of effects. Pure. */
import { sinceRoot } from "../common/times";
import { axisOf } from "./gaps";
import { at, isFailure, timeOf, type Graph } from "./graph";
import { buildLanes, type Lane } from "./lanes";

export const LANES_MAX = 4;
const LANE_TOP = 12;
const LANE_STEP = 15;

export interface Point {
  x: number;
  y: number;
  node: number;
}

export interface Shape {
  lanes: readonly (Lane & { y: number })[];
  /** Lines from cause to effect. */
  solid: string;
  dotted: string;
  /** Marks as one path each, since a trace may have thousands: a dot is a line of no length with round ends. */
  dots: string;
  failures: string;
  crosses: string;
  focus: Point;
  ticks: readonly { x: number; text: string; anchor: "start" | "middle" | "end"; isFocus: boolean }[];
  /** Where each node is, for a click. */
  points: readonly Point[];
}

const dotsAt = (points: readonly Point[]): string => points.map(({ x, y }) => `M${x} ${y}h0`).join("");

/** With more nodes than this, points lie 3 px apart at least, for fewer lines. */
const DENSE = 600;

/** Room that a label of the axis needs, in pixels. */
const LABEL_PX = 56;

/** Draws into a width, from the pixel `left` on. What falls onto the same pixels is drawn once. */
export function shapeOf(graph: Graph, width: number, left: number): Shape {
  const { lanes, laneOf } = buildLanes(graph, "actor", LANES_MAX);
  const room = Math.max(1, width - left - 16);
  const grain = graph.nodes.length > DENSE ? 3 : 0.5;
  const axis = axisOf(graph, Math.min(0.5, LABEL_PX / room));
  const points = graph.nodes.map((node, index): Point => ({
    node: index,
    x: Math.round((left + 6 + axis.place(timeOf(node)) * room) / grain) * grain,
    y: LANE_TOP + at(laneOf, index) * LANE_STEP,
  }));
  const focus = at(points, graph.focus);
  const failures = once(points.filter(({ node }) => isFailure(at(graph.nodes, node))));
  return {
    lanes: lanes.map((lane, index) => ({ ...lane, y: LANE_TOP + index * LANE_STEP })),
    ...pathsOf(graph, points),
    dots: dotsAt(once(points.filter(({ node }) => !isFailure(at(graph.nodes, node))))),
    failures: dotsAt(failures),
    crosses: failures.map(({ x, y }) => `M${x - 2} ${y - 2}l4 4m0-4l-4 4`).join(""),
    focus,
    ticks: ticksOf(graph, axis, focus, left + 6, room),
    points,
  };
}

function pathsOf(graph: Graph, points: readonly Point[]): { solid: string; dotted: string } {
  const drawn = new Set<string>();
  const paths = { solid: "", dotted: "" };
  points.forEach((point, index) => {
    const parent = at(graph.parents, index);
    if (parent < 0) return;
    const from = at(points, parent);
    const relation = at(graph.relations, index);
    const kind = relation === "cause" || relation === "focus" ? "solid" : "dotted";
    const line = `M${from.x} ${from.y}L${point.x} ${point.y}`;
    if (drawn.has(kind + line)) return;
    drawn.add(kind + line);
    paths[kind] += line;
  });
  return paths;
}

/** Points that fall onto the same two pixels of a lane, once. */
function once(points: readonly Point[]): Point[] {
  const seen = new Set<number>();
  return points.filter(({ x, y }) => {
    const place = Math.round(x / 2) * 1000 + y;
    if (seen.has(place)) return false;
    seen.add(place);
    return true;
  });
}

type Tick = Shape["ticks"][number];

/** The labels of the axis: the selected event's and the ends come first, and others where there is room. */
function ticksOf(graph: Graph, axis: ReturnType<typeof axisOf>, focus: Point, left: number, room: number): Tick[] {
  const right = left + room;
  const tick = (x: number, text: string, isFocus = false): Tick => {
    const half = widthOf(text) / 2;
    return { x, text, isFocus, anchor: x - half < left ? "start" : x + half > right ? "end" : "middle" };
  };
  const wanted = [
    tick(focus.x, sinceRoot(timeOf(at(graph.nodes, graph.focus))), true),
    ...(axis.last > axis.first ? [tick(left, shortTime(axis.first)), tick(right, sinceRoot(axis.last))] : []),
    ...axis.ticks.map(({ us, place }) => tick(left + place * room, shortTime(us))),
  ];
  const ticks: Tick[] = [];
  for (const one of wanted) if (ticks.every((other) => areApart(one, other))) ticks.push(one);
  return ticks;
}

const CHARACTER_PX = 6.8;
const widthOf = (text: string): number => text.length * CHARACTER_PX;

/** Where a label begins and ends. */
function extent({ x, text, anchor }: Tick): [number, number] {
  const width = widthOf(text);
  const from = anchor === "start" ? x : anchor === "end" ? x - width : x - width / 2;
  return [from, from + width];
}

function areApart(one: Tick, other: Tick): boolean {
  const [from, to] = extent(one);
  const [otherFrom, otherTo] = extent(other);
  return to + 12 <= otherFrom || otherTo + 12 <= from;
}

/** A round time needs no tenths: "+1:30". */
const shortTime = (us: number): string => sinceRoot(us).replace(/\.0$/, "");

/** The node nearest to a place of the drawing. */
export function nearest(shape: Shape, x: number, y: number): number {
  let best = shape.focus.node;
  let least = Infinity;
  for (const point of shape.points) {
    const distance = Math.abs(point.x - x) + Math.abs(point.y - y) / 2;
    if (distance < least) [least, best] = [distance, point.node];
  }
  return best;
}
