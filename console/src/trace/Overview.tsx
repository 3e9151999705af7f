import { memo, useMemo, useRef, type MouseEvent } from "react";
import { counted } from "../common/times";
import type { Graph, Trace } from "./graph";
import { usePhone, useWidth } from "./media";
import { nearest, shapeOf, type Shape } from "./shape";
import { atLeast } from "./words";

const HEIGHT = 78;

interface Props {
  graph: Graph;
  trace: Trace;
  onNode: (node: number) => void;
  /** The node that is played, or null. */
  played: number | null;
}

/** The whole trace in 78 px: who acted when, the way to the selected event, and every failure. */
export const Overview = memo(function Overview({ graph, trace, onNode, played }: Props) {
  const ref = useRef<HTMLDivElement>(null);
  const width = useWidth(ref) - 48;
  const left = usePhone() ? 22 : 128;
  const shape = useMemo(() => (width > 100 ? shapeOf(graph, width, left) : null), [graph, width, left]);
  const { events, failures } = trace.summary;
  const label = `Shape of the trace: ${atLeast(counted(events, "event"), trace.atLeast)}, ${failures} failed`;
  const click = (event: MouseEvent<SVGSVGElement>) => {
    if (shape === null) return;
    const box = event.currentTarget.getBoundingClientRect();
    onNode(nearest(shape, event.clientX - box.left, event.clientY - box.top));
  };
  return (
    <div className="ov" ref={ref}>
      {shape === null ? (
        <div style={{ height: HEIGHT }} />
      ) : (
        <svg width={width} height={HEIGHT} role="img" aria-label={label} onClick={click}>
          <OverviewLanes shape={shape} left={left} width={width} />
          <rect x={shape.focus.x - 5} y="2" width="10" height="64" rx="2" fill="var(--accent-bg)" />
          <path d={shape.solid} fill="none" stroke="var(--accent)" strokeWidth="1.25" strokeLinejoin="round" />
          <path d={shape.dotted} fill="none" stroke="var(--accent)" strokeWidth="1.25" strokeDasharray="2.5 2.5" />
          <g fill="none" strokeLinecap="round">
            <path d={shape.dots} stroke="var(--bg-app)" strokeWidth="5.5" />
            <path d={shape.dots} stroke="var(--text-2)" strokeWidth="3.5" />
            <path d={shape.failures} stroke="var(--fail)" strokeWidth="11" />
            <path d={shape.crosses} stroke="var(--on-fail)" strokeWidth="1.5" />
          </g>
          <circle cx={shape.focus.x} cy={shape.focus.y} r="8" fill="none" stroke="var(--accent)" strokeWidth="1.5" />
          {played !== null && <Playhead shape={shape} node={played} />}
          {shape.ticks.map(({ x, text, anchor, isFocus }) => (
            <text key={`${x}${text}`} x={x} y="75" textAnchor={anchor} className={isFocus ? "ax foc" : "ax"}>
              {text}
            </text>
          ))}
        </svg>
      )}
    </div>
  );
});

/** Where playing is. */
function Playhead({ shape, node }: { shape: Shape; node: number }) {
  const { x, y } = shape.points[node] ?? shape.focus;
  return (
    <g stroke="var(--text)" strokeWidth="1.5" fill="none" className="playhead">
      <line x1={x} x2={x} y1="2" y2="66" />
      <circle cx={x} cy={y} r="6" />
    </g>
  );
}

const GLYPHS: Record<string, string> = { user: "user", anonymous: "user", agent: "agent", automation: "automation", service: "automation", integration: "automation" };
const NAME_MAX = 16;

function OverviewLanes({ shape, left, width }: { shape: Shape; left: number; width: number }) {
  return shape.lanes.map((lane) => (
    <g key={lane.key}>
      <title>{lane.name}</title>
      <line x1={left} x2={width} y1={lane.y} y2={lane.y} stroke="var(--line)" />
      {lane.type !== "" && <LaneGlyph type={GLYPHS[lane.type] ?? "system"} y={lane.y} />}
      {left > 100 && (
        <text x="16" y={lane.y + 4} className="ln">
          {lane.name.length > NAME_MAX ? `${lane.name.slice(0, NAME_MAX - 1)}…` : lane.name}
        </text>
      )}
    </g>
  ));
}

function LaneGlyph({ type, y }: { type: string; y: number }) {
  return (
    <g transform={`translate(0 ${y - 5}) scale(.83)`} fill={`var(--actor-${type})`}>
      {type === "user" && <circle cx="6" cy="6" r="5" />}
      {type === "agent" && <path d="M6 .5 10.8 3.25v5.5L6 11.5 1.2 8.75v-5.5z" />}
      {type === "automation" && <rect x="1.2" y="1.2" width="9.6" height="9.6" rx="1.5" />}
      {type === "system" && <path d="M6 .3 11.7 6 6 11.7.3 6z" />}
    </g>
  );
}
