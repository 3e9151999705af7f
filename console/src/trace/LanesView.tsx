import { memo, useMemo } from "react";
import { absenceOf } from "../common/ids";
import { ActorGlyph, asOutcome, OutcomeMark } from "../common/marks";
import { useWidthAtMost } from "../explore/media";
import { counted, durationWords, sinceRoot } from "../common/times";
import { at, isFailure, timeOf, type Graph } from "./graph";
import { rowHeight, type Heights } from "./heights";
import { buildLaneGuides, type LaneGuide } from "./laneLines";
import { buildLanes, laneX, type LaneOf, type Lanes } from "./lanes";
import type { Played } from "./play";
import { RowList } from "./RowList";
import { isOpen, type EventRow, type Row } from "./rows";
import { rowId } from "./TreeRow";
import { foldWords, rowWords, shortId } from "./words";

interface Props {
  graph: Graph;
  rows: readonly Row[];
  heights: Heights;
  cursor: number;
  target: { row: number; turn: number };
  by: LaneOf;
  isPhone: boolean;
  onBy: (by: LaneOf) => void;
  onSelect: (index: number) => void;
  lookOf: (row: Row) => Played;
}

/** The same rows as the tree, with a column for each actor or resource in place of the gutter. */
export function LanesView({ graph, rows, heights, cursor, target, by, isPhone, onBy, onSelect, lookOf }: Props) {
  const all = useMemo(() => buildLanes(graph, by, isPhone ? 5 : 8), [graph, by, isPhone]);
  const shown = useMemo(() => rows.filter((row) => row.kind !== "because" && row.kind !== "ledTo"), [rows]);
  const guides = useMemo(() => buildLaneGuides(shown, graph, all), [shown, graph, all]);
  const isSlim = useWidthAtMost(1023);
  const width = isPhone ? 26 * all.lanes.length : isSlim ? Math.min(72 * all.lanes.length, 360) : Math.max(200, Math.min(104 * all.lanes.length, 560));
  const place = (index: number): number => shown.indexOf(at(rows, index));
  const flat = useMemo((): Heights => ({ ...heights, event: isPhone ? 40 : 30, focus: isPhone ? 44 : 30 }), [heights, isPhone]);
  const heightAt = (index: number): number => {
    const row = shown[index];
    return row === undefined ? flat.event : rowHeight(row, flat);
  };
  const shownCursor = cursor < 0 ? -1 : place(cursor);
  const wanted = useMemo(() => ({ row: target.row < 0 ? -1 : place(target.row), turn: target.turn }), [target, shown]);
  return (
    <RowList
      rows={shown}
      heights={flat}
      cursor={shownCursor}
      label={`Causes and effects, in lanes by ${by}`}
      target={wanted}
      rowId={rowId}
      head={<LanesHead lanes={all} by={by} width={width} isPhone={isPhone} isSlim={isSlim} onBy={onBy} />}
    >
      {(index, height, top) => (
        <LaneRow
          key={at(shown, index).key}
          graph={graph}
          row={at(shown, index)}
          guide={at(guides, index)}
          lanes={all.lanes.length}
          width={width}
          index={index}
          height={height}
          above={heightAt(index - 1)}
          below={heightAt(index + 1)}
          top={top}
          isCursor={index === shownCursor}
          look={lookOf(at(shown, index))}
          onSelect={() => onSelect(rows.indexOf(at(shown, index)))}
        />
      )}
    </RowList>
  );
}

function LanesHead({ lanes, by, width, isPhone, isSlim, onBy }: { lanes: Lanes; by: LaneOf; width: number; isPhone: boolean; isSlim: boolean; onBy: (by: LaneOf) => void }) {
  const each = width / Math.max(1, lanes.lanes.length);
  return (
    <div className="lh">
      <span className="tm">since root</span>
      <span className="ls" style={{ width }}>
        {lanes.lanes.map((lane, index) => (
          <span key={lane.key} className="cut" title={lane.name} style={{ left: laneX(index, lanes.lanes.length, width), maxWidth: each - 6 }}>
            {lane.type !== "" && by === "actor" && <ActorGlyph type={lane.type} />}
            {isPhone ? <span className="visually-hidden">{lane.name}</span> : <bdi>{lane.name}</bdi>}
            {isPhone && (lane.type === "" || by === "resource") && index + 1}
          </span>
        ))}
      </span>
      <span className="xxs t3 grow">What</span>
      <span className="seg" role="group" aria-label="Lanes by">
        {(["actor", "resource"] as const).map((one) => (
          <button key={one} aria-pressed={by === one} onClick={() => onBy(one)}>
            {isSlim ? (one === "actor" ? "Actor" : "Resource") : `By ${one}`}
          </button>
        ))}
      </span>
    </div>
  );
}

interface LaneRowProps {
  graph: Graph;
  row: Row;
  guide: LaneGuide;
  lanes: number;
  width: number;
  index: number;
  height: number;
  /** Heights of the rows above and below. */
  above: number;
  below: number;
  top: number;
  isCursor: boolean;
  look: Played;
  onSelect: () => void;
}

const LaneRow = memo(function LaneRow(props: LaneRowProps) {
  const { graph, row, index, height, top, isCursor, look, width, onSelect } = props;
  const classes = ["tr", "lr", row.relation === "focus" ? "cur" : "", isCursor ? "on" : "", look ?? ""].filter((one) => one !== "").join(" ");
  return (
    <div
      role="row"
      id={rowId(index)}
      className={classes}
      style={{ height, transform: `translateY(${top}px)` }}
      aria-level={row.level + 1}
      aria-rowindex={index + 1}
      aria-selected={isCursor}
      aria-expanded={row.kind === "fold" ? row.open : undefined}
      onClick={onSelect}
    >
      <span className="tm" role="gridcell">
        {row.kind === "event" ? sinceRoot(timeOf(at(graph.nodes, row.node))) : ""}
      </span>
      <span className="lg" role="gridcell" style={{ width }}>
        <LaneLines {...props} />
      </span>
      <span className="ct cut" role="gridcell">
        <LaneText row={row} graph={graph} />
      </span>
    </div>
  );
});

/** A diagonal is drawn in two halves, so that no row covers the mark of another. */
function LaneLines({ graph, row, guide, lanes, width, height, above, below }: LaneRowProps) {
  const x = (lane: number) => laneX(lane, lanes, width);
  const middle = height / 2;
  const start = x(guide.start);
  const end = x(guide.end);
  const isEvent = row.kind === "event";
  const outcome = row.nodes.some((node) => isFailure(at(graph.nodes, node))) ? "failure" : asOutcome(at(graph.nodes, row.nodes[row.nodes.length - 1] ?? 0)?.outcome);
  const dashes = (stroke: "solid" | "dotted") => (stroke === "dotted" ? "3 2.500" : undefined);
  return (
    <>
      <svg width={width} height={height} aria-hidden="true">
        {Array.from({ length: lanes }, (_, lane) => (
          <line key={lane} x1={x(lane)} x2={x(lane)} y1="0" y2={height} stroke="var(--line)" />
        ))}
        <g fill="none" stroke="var(--accent)" strokeWidth="1.5">
          {guide.passes.map(({ lane, stroke, isLast }) => (
            <path key={`p${lane}`} d={`M${x(lane)} 0V${isLast ? middle : height}`} strokeDasharray={dashes(stroke)} />
          ))}
          {guide.leaves !== null && <path d={`M${end} ${middle}V${height}`} strokeDasharray={dashes(guide.leaves)} />}
          {guide.arrivals.map(({ from, to, stroke }) => (
            <path key={`a${from}`} d={`M${edgeX(x(from), x(to), above, height)} 0L${x(to)} ${middle}`} strokeDasharray={dashes(stroke)} />
          ))}
          {guide.departures.map(({ from, to, stroke }) => (
            <path key={`d${from}`} d={`M${x(from)} ${middle}L${edgeX(x(from), x(to), height, below)} ${height}`} strokeDasharray={dashes(stroke)} />
          ))}
          {isEvent && start !== end && <path d={`M${start} ${middle}H${end}`} strokeDasharray={dashes(row.relation === "cause" ? "solid" : "dotted")} />}
        </g>
        {row.kind === "fold" && !row.open && <rect x="6" y={middle - 7} width={width - 12} height="14" rx="7" fill="var(--bg-sunken)" />}
        {isEvent && start !== end && <circle cx={start} cy={middle} r="2.25" fill="var(--text-2)" stroke="var(--bg)" />}
      </svg>
      {isEvent && (
        <span className="at" style={{ left: end, top: middle }}>
          <OutcomeMark outcome={outcome} />
        </span>
      )}
      {row.kind === "portal" && start >= 0 && (
        <span className="at" style={{ left: start, top: middle }}>
          <i className="door" />
        </span>
      )}
      {isEvent && row.repeats > 1 && (
        <span className="t3 xxs rp" style={{ left: end + 10, top: middle }}>
          ×{row.repeats}
        </span>
      )}
    </>
  );
}

/** Where a line from the middle of one row to that of the next crosses the edge between them. */
const edgeX = (from: number, to: number, upper: number, lower: number): number => from + ((to - from) * upper) / (upper + lower);

function LaneText({ row, graph }: { row: Row; graph: Graph }) {
  switch (row.kind) {
    case "event":
      return <LaneEvent row={row} graph={graph} />;
    case "fold":
      return (
        <span className="t2 xs">
          {counted(row.count, row.of === "siblings" ? "effect" : "event")} · {row.open ? "fold again" : foldWords(row.nodes, graph)}
        </span>
      );
    case "gap":
      return <span className="t2 xs">{durationWords(row.us)} later</span>;
    case "portal":
      return (
        <span className="tag acc">
          flow <span className="mono">{at(graph.nodes, row.node).correlationId}</span>
          {row.open ? "" : ` · ${counted(row.nodes.length, "event")}`}
        </span>
      );
    case "ghost":
      return <AbsentCause id={at(graph.nodes, row.node).causationId ?? ""} />;
    case "cycle":
      return <span className="tag warn">names {shortId(at(graph.nodes, row.node).causationId ?? "")} as its cause, which came of it</span>;
    case "absent":
      return <span className="tag warn">{counted(row.count, "effect")} not loaded</span>;
    case "atLeast":
      return <span className="tag warn">The trace was cut short: every count is “at least”</span>;
    default:
      return <span className="tag warn">Earlier causes are not loaded</span>;
  }
}

function LaneEvent({ row, graph }: { row: EventRow; graph: Graph }) {
  const node = at(graph.nodes, row.node);
  const words = rowWords(row, graph);
  const isPair = row.end !== null && words.object !== "";
  return (
    <>
      {!isPair && (
        <>
          <span className={isFailure(node) && words.isVerb ? "fw" : "t2"}>{words.verb}</span>{" "}
        </>
      )}
      {words.object !== "" && <span className="obj">{words.object}</span>}{" "}
      {words.failed !== "" && <span className="fw">{words.failed}</span>}{" "}
      <span className="det">{words.detail}</span>
      {isOpen(graph, row.node) && node.allEffects === 0 && <span className="t3 xs"> no end yet</span>}
      {node.skewed && node.sinceCauseUs !== null && <span className="tag warn">{durationWords(-node.sinceCauseUs)} before its cause</span>}
    </>
  );
}

function AbsentCause({ id }: { id: string }) {
  return (
    <span className="ghost">
      Cause {shortId(id)} {absenceOf(id, "is not here")}
    </span>
  );
}
