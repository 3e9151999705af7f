import { Link } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState } from "react";
import { OutcomeMark } from "../common/marks";
import { exploring, term } from "../common/terms";
import { counted, durationWords, grouped } from "../common/times";
import { effects } from "./effects";
import { layoutOf, NODE_HEIGHT, type Layout } from "./layout";
import { arrow, modelOf, pairKey, type MapEdge, type MapModel, type Pair } from "./model";

interface Days {
  from: string | null;
  to: string | null;
}

/** The least that a picture is shrunk to fit. Below it one scrolls. */
const SCALE_MIN = 0.6;

/** The neutral of a line, mixed towards red by the share of failures. */
function stroke(share: number): string {
  return share === 0 ? "var(--map-line)" : `color-mix(in oklab, var(--fail) ${Math.round(40 + share * 60)}%, var(--map-line))`;
}

function useWidth() {
  const ref = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!ref.current) return;
    const observer = new ResizeObserver(([entry]) => setWidth(entry?.contentRect.width ?? 0));
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return { ref, width };
}

/** The map as a picture. The table beside it says the same. */
export function Picture({ pairs, counts, days, chosen, choose }: {
  pairs: readonly Pair[];
  counts: ReadonlyMap<string, number>;
  days: Days;
  chosen: string | null;
  choose: (key: string | null) => void;
}) {
  const { ref, width } = useWidth();
  const model = useMemo(() => modelOf(pairs, counts), [pairs, counts]);
  const isNarrow = width > 0 && width < 600;
  const layout = useMemo(() => layoutOf(model, isNarrow), [model, isNarrow]);
  const scale = width === 0 ? 1 : Math.max(SCALE_MIN, Math.min(1, width / layout.width));
  const edge = model.edges.find(({ pair }) => pairKey(pair) === chosen);
  return (
    <div className="map-picture" ref={ref}>
      <div className="map-canvas" style={{ width: layout.width * scale, height: layout.height * scale }} onMouseLeave={() => choose(null)}>
        <svg
          width={layout.width * scale}
          height={layout.height * scale}
          viewBox={`0 0 ${layout.width} ${layout.height}`}
          role="img"
          aria-label={`${counted(model.nodes.length, "event type")} and what leads to what; the table has the same`}
        >
          {model.edges.map((each) => (
            <Edge key={pairKey(each.pair)} edge={each} layout={layout} isChosen={each === edge} choose={choose} />
          ))}
          {model.edges.map((each) => (
            <EdgeCount key={pairKey(each.pair)} edge={each} layout={layout} isChosen={each === edge} choose={choose} />
          ))}
        </svg>
        <Nodes model={model} layout={layout} scale={scale} days={days} />
        {edge && <Card edge={edge} layout={layout} scale={scale} days={days} room={width} />}
      </div>
      <Legend model={model} />
    </div>
  );
}

function Edge({ edge, layout, isChosen, choose }: { edge: MapEdge; layout: Layout; isChosen: boolean; choose: (key: string) => void }) {
  const key = pairKey(edge.pair);
  const placed = layout.edges.get(key);
  if (!placed) return null;
  const { path, head } = arrow(placed.points, edge.width);
  const colour = stroke(edge.failureShare);
  return (
    <g onMouseEnter={() => choose(key)}>
      {isChosen && <path d={path} fill="none" stroke="var(--accent-line)" strokeWidth={edge.width + 8} />}
      <path d={path} fill="none" stroke="transparent" strokeWidth={Math.max(14, edge.width)} />
      <path
        d={path}
        fill="none"
        style={{ stroke: colour }}
        strokeWidth={edge.isDashed ? Math.max(1.5, edge.width) : edge.width}
        strokeDasharray={edge.isDashed ? `${Math.max(5, edge.width * 1.2)} ${Math.max(3, edge.width * 0.5)}` : undefined}
      />
      <path d={head} style={{ fill: colour }} />
    </g>
  );
}

function EdgeCount({ edge, layout, isChosen, choose }: { edge: MapEdge; layout: Layout; isChosen: boolean; choose: (key: string) => void }) {
  const key = pairKey(edge.pair);
  const at = layout.edges.get(key)?.label;
  if (!at) return null;
  const text = grouped(edge.pair.events);
  const width = text.length * 6.4 + 8;
  return (
    <g onMouseEnter={() => choose(key)} className={isChosen ? "map-count on" : "map-count"}>
      <rect x={at.x - width / 2} y={at.y - 8} width={width} height={16} rx={2} />
      <text x={at.x} y={at.y + 4} textAnchor="middle" className={edge.isDashed ? "bad" : ""}>
        {text}
      </text>
    </g>
  );
}

function Nodes({ model, layout, scale, days }: { model: MapModel; layout: Layout; scale: number; days: Days }) {
  const period = { from: days.from ?? undefined, to: days.to ?? undefined };
  return model.nodes.map(({ type, events, outcome }) => {
    const at = layout.nodes.get(type);
    if (!at) return null;
    return (
      <Link
        key={type}
        to="/explore"
        search={exploring([term("type", type)], period)}
        className={outcome === "failure" ? "map-node bad" : "map-node"}
        style={{ left: at.x * scale, top: at.y * scale, width: at.width, height: NODE_HEIGHT, transform: `translate(-50%,-50%) scale(${scale})` }}
        title={`Show ${type} in Explore`}
      >
        <OutcomeMark outcome={outcome} />
        <span className="grow">
          <span className="cut m">{type}</span>
          <span className="cut xs t2">{events === null ? " " : counted(events, "event")}</span>
        </span>
      </Link>
    );
  });
}

function Card({ edge, layout, scale, days, room }: { edge: MapEdge; layout: Layout; scale: number; days: Days; room: number }) {
  const { pair } = edge;
  const at = layout.edges.get(pairKey(pair))?.label ?? { x: 0, y: 0 };
  const isLeft = at.x * scale + 290 > Math.max(room, layout.width * scale);
  return (
    <div
      className="map-card"
      style={{ left: at.x * scale, top: at.y * scale, transform: `translate(${isLeft ? "calc(-100% - 22px)" : "22px"}, -50%)` }}
    >
      <p className="mono b">
        {pair.causeType}
        <br />→ {pair.effectType}
      </p>
      <p className="t2">
        {grouped(pair.events)} times, {percent(pair.share)} of what follows the first
        {pair.failures > 0 && (
          <>
            ; <span className="fw">{grouped(pair.failures)} failed</span>
          </>
        )}
      </p>
      {pair.p50Us !== null && (
        <p className="t2">
          half within {durationWords(pair.p50Us)}
          {pair.p95Us !== null && <>, 95 % within {durationWords(pair.p95Us)}</>}
        </p>
      )}
      {pair.skewed > 0 && <p className="warnw">{counted(pair.skewed, "effect")} before the cause, by the senders’ clocks</p>}
      <Link className="link" to="/explore" search={effects(pair, days)}>
        Show {pair.effectType} in Explore
      </Link>
    </div>
  );
}

function percent(share: number): string {
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

function Legend({ model }: { model: MapModel }) {
  const most = Math.max(0, ...model.edges.map(({ pair }) => pair.events));
  return (
    <div className="map-legend xs t2">
      <span className="fx g2">
        <i style={{ height: 12 }} />
        {grouped(most)} times
      </span>
      <span className="fx g2">
        <i style={{ height: 1 }} />
        {grouped(Math.max(1, Math.floor(most / 16)))} times or fewer
      </span>
      <span className="fx g2">
        <i className="dash" />
        half or more of the effects failed
      </span>
      {model.leftOut > 0 && <span>{counted(model.leftOut, "further pair")}, less frequent, in the table only</span>}
    </div>
  );
}
