import { useEffect, useRef, useState, type KeyboardEvent, type PointerEvent, type ReactNode } from "react";
import { OutcomeMark, type Outcome } from "../common/marks";
import { usePreferences } from "../common/preferences";
import { clockTime, counted, grouped } from "../common/times";
import { changeWords, countBefore, ghostPath } from "./compare";
import { dragged, plotOf, type Bar, type Histogram as Counts, type Plot } from "./bars";
import { instant, intervalName } from "./periods";

interface Props {
  counts: Counts;
  /** Zooms to a period of whole buckets. */
  onZoom: (from: string, to: string) => void;
  /** Doubles the period, if it has two ends. */
  onZoomOut: (() => void) | null;
  /** When the selected event occurred. */
  marked: string | undefined;
  isPhone: boolean;
  /** The counts of the period before, if they are compared; null until they are there. */
  before: { counts: Counts; shiftMs: number } | null;
  compares: boolean;
  /** Compares, or stops; null when there is no period before. */
  onCompare: ((compares: boolean) => void) | null;
  /** What stands at the right on a phone. */
  children?: ReactNode;
}

const BASE = 64;
const WORDS: Record<Outcome, string> = { failure: "failed", success: "succeeded", none: "no outcome" };

/** Events over time by outcome. A drag zooms; so do Shift and the arrows, then Enter. */
export function Histogram({ counts, onZoom, onZoomOut, marked, isPhone, before, compares, onCompare, children }: Props) {
  const { zone } = usePreferences();
  const [place, width] = useWidth();
  const [hovered, setHovered] = useState<Bar | null>(null);
  const plot = plotOf(counts, { width, base: isPhone ? 48 : BASE, top: 6 }, zone, before?.counts);
  const of = (outcome: Outcome) => counts.keys.find(({ key }) => key === outcome)?.count ?? 0;
  return (
    <section className="histo" aria-label="Events over time">
      <div className="hh">
        <b>{counted(counts.total, "event")}</b>
        {before && <span className="t2 nw">{changeWords(counts.total, before.counts.total)}</span>}
        <span className="t3 cut grow">{hovered ? readout(hovered, zone, before) : isPhone ? "" : `${intervalName(counts.interval)} a bar · drag to zoom`}</span>
        {onCompare && !isPhone && (
          <button className="btn small" aria-pressed={compares} title="Compare with the period before" onClick={() => onCompare(!compares)}>
            <svg className="sw ghost-line" width="12" height="10" aria-hidden="true">
              <path d="M.5 9.500V5.500h5v-4h6v8" />
            </svg>
            Before
          </button>
        )}
        {onZoomOut && !isPhone && (
          <button className="btn small" onClick={onZoomOut}>
            Zoom out
          </button>
        )}
        {isPhone ? (
          <>
            {of("failure") > 0 && (
              <span className="fw k">
                <OutcomeMark outcome="failure" />
                {grouped(of("failure"))} failed
              </span>
            )}
            {children}
          </>
        ) : (
          (["failure", "success", "none"] as const).map((outcome) => (
            <span className="k" key={outcome}>
              <svg className={`sw area-${outcome}`} width="10" height="10" aria-hidden="true">
                <rect width="10" height="10" rx="1.5" fill={outcome === "failure" ? "url(#hatch-failure)" : undefined} />
              </svg>
              {WORDS[outcome]} {grouped(of(outcome))}
            </span>
          ))
        )}
      </div>
      <div ref={place} className="histo-place">
        {width > 0 && <Bars plot={plot} width={width} base={isPhone ? 48 : BASE} marked={marked} before={before} onZoom={onZoom} onHover={setHovered} />}
      </div>
    </section>
  );
}

interface BarsProps {
  plot: Plot;
  width: number;
  base: number;
  marked: string | undefined;
  before: Props["before"];
  onZoom: Props["onZoom"];
  onHover: (bar: Bar | null) => void;
}

function Bars({ plot, width, base, marked, before, onZoom, onHover }: BarsProps) {
  const { zone } = usePreferences();
  const svg = useRef<SVGSVGElement>(null);
  const [drag, setDrag] = useState<{ from: number; to: number } | null>(null);
  const [focused, setFocused] = useState(0);
  const [anchor, setAnchor] = useState<number | null>(null);
  const at = Math.min(focused, plot.bars.length - 1);
  const chosen = anchor === null ? null : { from: Math.min(anchor, at), to: Math.max(anchor, at) };
  const zoom = (period: { from: number; to: number } | null) => {
    setAnchor(null);
    if (period) onZoom(instant(period.from), instant(period.to));
  };
  const xOf = (event: PointerEvent) => event.clientX - (svg.current?.getBoundingClientRect().left ?? 0);
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -plot.bars.length, End: plot.bars.length }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      const next = Math.min(plot.bars.length - 1, Math.max(0, at + step));
      setAnchor(event.shiftKey ? (anchor ?? at) : null);
      setFocused(next);
      svg.current?.querySelectorAll<SVGGElement>("[data-bar]")[next]?.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      const [first, last] = [plot.bars[chosen?.from ?? at], plot.bars[chosen?.to ?? at]];
      if (first && last) zoom({ from: first.startMs, to: last.endMs });
    } else if (event.key === "Escape" && anchor !== null) {
      event.stopPropagation();
      setAnchor(null);
    }
  };
  const shade = drag
    ? { x: Math.min(drag.from, drag.to), width: Math.abs(drag.to - drag.from) }
    : chosen && { x: plot.bars[chosen.from]?.x ?? 0, width: (plot.bars[chosen.to]?.x ?? 0) + (plot.bars[chosen.to]?.width ?? 0) - (plot.bars[chosen.from]?.x ?? 0) };
  return (
    <svg
      ref={svg}
      className="histo-svg"
      width={width}
      height={base + 18}
      role="group"
      aria-label="Bars of events; arrows move, Shift and arrows choose, Enter zooms"
      onKeyDown={onKeyDown}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        setDrag({ from: xOf(event), to: xOf(event) });
      }}
      onPointerMove={(event) => {
        onHover(plot.bars.find((bar) => bar.startMs <= plot.msAt(xOf(event)) && plot.msAt(xOf(event)) < bar.endMs) ?? null);
        if (drag) setDrag({ ...drag, to: xOf(event) });
      }}
      onPointerUp={() => {
        if (drag) zoom(dragged(plot, drag.from, drag.to));
        setDrag(null);
      }}
      onPointerCancel={() => setDrag(null)}
      onPointerLeave={() => onHover(null)}
    >
      <defs>
        <pattern id="hatch-failure" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
          <rect width="4" height="4" fill="var(--area-fail)" />
          <rect width="1.3" height="4" fill="var(--bg)" />
        </pattern>
      </defs>
      <Axes plot={plot} width={width} base={base} />
      {plot.bars.map((bar, index) => (
        <g
          key={bar.startMs}
          data-bar=""
          role="img"
          tabIndex={index === at ? 0 : -1}
          aria-label={readout(bar, zone, before)}
          onFocus={() => (setFocused(index), onHover(bar))}
          onBlur={() => onHover(null)}
        >
          <rect className="bar-ground" x={bar.x - 1} y="0" width={bar.width + 2} height={base} />
          {bar.segments.map(({ outcome, y, height, isHatched }) => (
            <rect
              key={outcome}
              className={`area-${outcome}`}
              x={bar.x}
              y={y}
              width={bar.width}
              height={height}
              fill={isHatched ? "url(#hatch-failure)" : undefined}
            />
          ))}
        </g>
      ))}
      {before && <path className="ghost-line" aria-hidden="true" d={ghostPath(before.counts, before.shiftMs, plot)} />}
      {shade && <rect className="shade" x={shade.x} y="0" width={shade.width} height={base} />}
      {marked && <path className="marker" d={`M${plot.xOf(Date.parse(marked)) - 3.5} 0h7l-3.5 4z`} />}
    </svg>
  );
}

function Axes({ plot, width, base }: { plot: Plot; width: number; base: number }) {
  return (
    <g className="axes" aria-hidden="true">
      {plot.yTicks.map(({ y, label }) => (
        <g key={label}>
          <line x1={plot.left} x2={width} y1={y} y2={y} />
          <text x={plot.left - 6} y={y + 4} textAnchor="end">
            {label}
          </text>
        </g>
      ))}
      <line className="strong" x1={plot.left} x2={width} y1={base} y2={base} />
      {plot.xTicks.map(({ x, label, anchor }) => (
        <g key={`${x} ${label}`}>
          <line className="strong" x1={x} x2={x} y1={base} y2={base + 4} />
          <text x={x} y={base + 15} textAnchor={anchor}>
            {label}
          </text>
        </g>
      ))}
    </g>
  );
}

/** "15 May 2024 20:10:00 – 20:20:00: 60 events, 5 failed; 45 before, 33 % more". */
function readout(bar: Bar, zone: "utc" | "local", before: Props["before"]): string {
  const [start, end] = [clockTime(instant(bar.startMs), zone), clockTime(instant(bar.endMs), zone)];
  const short = (time: string) => (time.endsWith(":00") ? time.slice(0, -3) : time);
  const until = start.date === end.date ? short(end.time) : `${end.date} ${short(end.time)}`;
  const failed = bar.counts.failure > 0 ? `, ${grouped(bar.counts.failure)} failed` : "";
  const compared = before ? `; ${changeWords(bar.total, countBefore(before.counts, before.shiftMs, bar))}` : "";
  return `${start.date} ${short(start.time)} – ${until}: ${counted(bar.total, "event")}${failed}${compared}`;
}

function useWidth() {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!place.current) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  return [place, width] as const;
}
