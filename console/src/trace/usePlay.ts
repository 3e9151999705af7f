import { useEffect, useMemo, useState } from "react";
import { useMedia } from "../explore/media";
import { at, type Graph } from "./graph";
import { paceOf, placesIn, playedAt, timeOrder, type Played, type Speed } from "./play";
import type { Row } from "./rows";

export interface Play {
  /** The node that is played, or null when the trace is shown as a whole. */
  node: number | null;
  /** How many events have been played, of how many. */
  played: number;
  events: number;
  isRunning: boolean;
  /** Motion is reduced: every step is asked for. */
  isStepped: boolean;
  speed: Speed;
  setSpeed: (speed: Speed) => void;
  /** Starts, pauses, or goes on; makes one step where motion is reduced. */
  toggle: () => void;
  step: (by: 1 | -1) => void;
  end: () => void;
  /** How a row looks now. */
  lookOf: (row: Row) => Played;
}

/** Plays a trace in the order of time. Nothing scrolls and nothing moves: rows are lit in their places. */
export function usePlay(graph: Graph): Play {
  const isStepped = useMedia("(prefers-reduced-motion: reduce)");
  const order = useMemo(() => timeOrder(graph), [graph]);
  const places = useMemo(() => placesIn(order), [order]);
  const [place, setPlace] = useState<number | null>(null);
  const [wantsToRun, setWantsToRun] = useState(false);
  const [speed, setSpeed] = useState<Speed>(1);
  const last = order.length - 1;
  const isRunning = wantsToRun && place !== null && place < last;
  useEffect(() => {
    if (!isRunning) return;
    const { everyMs, events } = paceOf(order.length, speed);
    const timer = setTimeout(() => setPlace(Math.min(last, (place ?? 0) + events)), everyMs);
    return () => clearTimeout(timer);
  }, [isRunning, place, speed, order, last]);
  const step = (by: 1 | -1) => {
    setWantsToRun(false);
    setPlace(place === null ? 0 : Math.max(0, Math.min(last, place + by)));
  };
  const toggle = () => {
    if (isStepped && place !== last) step(1);
    else if (place === null || place === last) {
      setPlace(0);
      setWantsToRun(!isStepped);
    } else setWantsToRun(!isRunning);
  };
  const end = () => {
    setPlace(null);
    setWantsToRun(false);
  };
  const lookOf = (row: Row): Played => (place === null ? undefined : playedAt(row, places, place));
  const node = place === null ? null : at(order, place);
  return { node, played: (place ?? -1) + 1, events: order.length, isRunning, isStepped, speed, setSpeed, toggle, step, end, lookOf };
}
