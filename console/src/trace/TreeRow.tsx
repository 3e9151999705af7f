import { Link } from "@tanstack/react-router";
import { memo, type CSSProperties, type ReactNode } from "react";
import { Icon, type IconName } from "../common/icons";
import { absenceOf } from "../common/ids";
import { ActorGlyph, asOutcome, OutcomeMark } from "../common/marks";
import { usePreferences } from "../common/preferences";
import { clockTime, counted, durationWords, grouped, sinceRoot } from "../common/times";
import { Gutter, type Tone } from "./Gutter";
import { at, isFailure, timeOf, type Graph, type TraceNode } from "./graph";
import type { Guide } from "./guides";
import type { Played } from "./play";
import { isOpen, type EventRow, type FoldRow, type PortalRow, type Row, type TopRow } from "./rows";
import { atLeast, barsOf, foldWords, outcomeWords, rhythm, rowWords, shortId, spanUs, tookUs } from "./words";
import { visible } from "../common/visible";
import { ABSENT, type Absence } from "../event/absence";

/** What all rows of a tree have in common. */
export interface Tree {
  graph: Graph;
  isLowerBound: boolean;
  absence: Absence;
  isPhone: boolean;
  isBlast: boolean;
  columnPx: number;
  /** The words of the heads. */
  because: string;
  ledTo: string;
  /** The time now, for starts without an end. */
  nowMs: number;
  onFold: (key: string) => void;
}

interface Props {
  tree: Tree;
  row: Row;
  guide: Guide;
  index: number;
  height: number;
  top: number;
  isCursor: boolean;
  tones: { above?: Tone; below?: Tone };
  look: Played;
  onSelect: (index: number) => void;
}

export const rowId = (index: number): string => `trace-row-${index}`;

export const TreeRow = memo(function TreeRow(props: Props) {
  const { tree, row, index, height, top, isCursor, look, onSelect } = props;
  const isFold = row.kind === "fold" || row.kind === "portal";
  const style: CSSProperties = { height, transform: `translateY(${top}px)` };
  return (
    <div
      role="row"
      id={rowId(index)}
      className={classesOf(row, tree, isCursor, look)}
      style={style}
      aria-level={row.level + 1}
      aria-rowindex={index + 1}
      aria-selected={isCursor}
      aria-expanded={isFold ? row.open : undefined}
      onClick={() => onSelect(index)}
    >
      <RowBody {...props} />
    </div>
  );
});

function classesOf(row: Row, tree: Tree, isCursor: boolean, look: Played): string {
  const classes = ["tr"];
  if (look !== undefined) classes.push(look);
  if (row.relation === "focus" && row.kind === "event") classes.push("cur");
  if (row.kind === "because" || row.kind === "ledTo") classes.push("head");
  if (row.kind === "fold") classes.push("fo");
  if (tree.isBlast && row.relation !== "effect" && row.relation !== "focus") classes.push("dim");
  if (isCursor) classes.push("on");
  return classes.join(" ");
}

function RowBody(props: Props) {
  const { row, tree } = props;
  switch (row.kind) {
    case "event":
      return <EventBody {...props} row={row} />;
    case "fold":
      return <FoldBody {...props} row={row} />;
    case "portal":
      return <PortalBody {...props} row={row} />;
    case "because":
      return <HeadBody {...props} icon="up" name="Because" words={tree.because} />;
    case "ledTo":
      return <HeadBody {...props} icon="effects" name="Led to" words={tree.ledTo} />;
    case "gap":
      return <Plain {...props} isBreak text={<span className="t2 xs">{durationWords(row.us)} later</span>} />;
    case "ghost":
    case "cycle":
    case "causesAbsent":
      return <TopBody {...props} row={row} />;
    case "absent":
      return <Plain {...props} text={<LeftOut tree={tree} node={row.node} words={`${atLeast(counted(row.count, "effect"), tree.isLowerBound)} not loaded`} />} />;
    case "atLeast":
      return <Plain {...props} text={<LeftOut tree={tree} node={tree.graph.focus} words={`The trace was cut short at ${counted(tree.graph.nodes.length, "event")}: every count is “at least”`} />} />;
  }
}

function Plain({ tree, guide, height, tones, text, isBreak, mark }: Props & { text: ReactNode; isBreak?: boolean; mark?: ReactNode }) {
  return (
    <>
      <span className="tm" role="gridcell" />
      <Gutter guide={guide} height={height} columnPx={tree.columnPx} {...tones} isBreak={isBreak ?? false}>
        {mark}
      </Gutter>
      <span className="ct" role="gridcell">
        {text}
      </span>
      <span className="du" role="gridcell" />
    </>
  );
}

function HeadBody({ tree, row, guide, height, index, icon, name, words }: Props & { icon: IconName; name: string; words: string }) {
  return (
    <>
      <span className="tm" role="gridcell">
        {index === 0 ? "since root" : ""}
      </span>
      <Gutter guide={row.kind === "because" ? { ...guide, below: null } : guide} height={height} columnPx={tree.columnPx} />
      <span className="ct" role="gridcell">
        <b className="fx g1">
          <Icon name={icon} small />
          {name}
        </b>
        <span className="cut">{words}</span>
      </span>
      <span className="du" role="gridcell">
        {index === 0 ? "took" : ""}
      </span>
    </>
  );
}

function EventBody({ tree, row, guide, height, tones }: Props & { row: EventRow }) {
  const { graph } = tree;
  const node = at(graph.nodes, row.node);
  const isFocus = row.relation === "focus";
  const last = at(graph.nodes, row.nodes[row.nodes.length - 1] ?? row.node);
  const outcome = row.nodes.some((one) => isFailure(at(graph.nodes, one))) ? "failure" : asOutcome(last.outcome);
  return (
    <>
      <span className="tm" role="gridcell">
        {sinceRoot(timeOf(node))}
      </span>
      <Gutter guide={guide} height={height} columnPx={tree.columnPx} {...tones}>
        <OutcomeMark outcome={outcome} size={isFocus ? 16 : 14} />
      </Gutter>
      <span className="ct" role="gridcell">
        <EventText row={row} tree={tree} />
      </span>
      <span className="du" role="gridcell">
        <Took row={row} tree={tree} />
      </span>
    </>
  );
}

/** A failure loses the middle of a long detail, since its end tells two apart. */
const TAIL = 28;

function EventText({ row, tree }: { row: EventRow; tree: Tree }) {
  const { graph } = tree;
  const node = at(graph.nodes, row.node);
  const words = rowWords(row, graph);
  const isFailed = isFailure(node);
  const hasTail = (isFailed || words.failed !== "") && words.detail.length > 2 * TAIL && row.relation !== "focus";
  const detail = hasTail ? words.detail.slice(0, -TAIL) : words.detail;
  const since = row.repeats > 2 ? rhythm(row, graph) : "";
  const head = (
    <>
      <span className="act">
        <ActorGlyph type={words.actorType} />
        {words.actor}
        {words.isVerb ? "" : ":"}
      </span>{" "}
      <span className={isFailed && words.isVerb ? "fw" : "t2"}>{words.verb}</span>{" "}
      {words.object !== "" && <span className="obj">{words.object}</span>}{" "}
      {words.failed !== "" && <span className="fw">{words.failed}</span>}{" "}
      {row.repeats > 1 && (
        <>
          <span className="tag rep">×{grouped(row.repeats)}</span>{" "}
        </>
      )}
    </>
  );
  const doubts = <Doubts node={node} isTop={isTop(graph, row.node)} />;
  if (tree.isPhone) {
    return (
      <span className="two">
        <span className={row.relation === "focus" ? "cut b" : "cut"}>{head}</span>
        <span className={row.relation === "focus" ? "l2 clamp" : "l2 cut"}>
          {doubts} {since === "" ? words.detail : since}
        </span>
      </span>
    );
  }
  return (
    <>
      <span className={row.relation === "focus" ? "cut b" : "cut"}>
        {head}
        <span className="det">{since === "" ? detail : since}</span>
      </span>
      {hasTail && <span className="det tail">{words.detail.slice(-TAIL)}</span>}
      {doubts}
    </>
  );
}

function Doubts({ node, isTop: isFirst }: { node: TraceNode; isTop: boolean }) {
  return (
    <>
      {node.skewed && node.sinceCauseUs !== null && (
        <span className="tag warn">
          <Icon name="left" small />
          {durationWords(-node.sinceCauseUs)} before its cause
        </span>
      )}
      {isFirst && node.causationId !== null && !node.cycle && <span className="t3 nw wide-only">times count from the earliest known</span>}
    </>
  );
}

const isTop = (graph: Graph, node: number): boolean => at(graph.parents, node) < 0;

const OPEN_MAX_US = 86_400_000_000;

function Took({ row, tree }: { row: EventRow; tree: Tree }) {
  const { graph } = tree;
  const took = tookUs(row, graph);
  if (took !== null && took >= 0) {
    const isFailed = row.nodes.some((one) => isFailure(at(graph.nodes, one)));
    const bars = barsOf(row, graph);
    return (
      <>
        <span className="nw">{durationWords(took)}</span>
        {bars.length > 0 && (
          <span className="brs">
            {bars.map((width, index) => (
              <i key={index} className={isFailed ? "br fail" : "br"} style={{ width }} />
            ))}
          </span>
        )}
      </>
    );
  }
  const node = at(graph.nodes, row.node);
  if (row.repeats > 1 || !isOpen(graph, row.node) || node.allEffects > 0) return null;
  const sinceUs = tree.nowMs * 1000 - Date.parse(node.occurredAt) * 1000;
  const words = sinceUs >= 0 && sinceUs < OPEN_MAX_US ? `${durationWords(Math.floor(sinceUs / 1e6) * 1e6)}, running` : "no end yet";
  return (
    <span className="fx g1 nw">
      <svg width="24" height="8" aria-hidden="true">
        <path d="M.5 1h16l7 3-7 3H.5z" fill="var(--none-bg)" stroke="var(--none)" />
      </svg>
      {words}
    </span>
  );
}

function FoldBody({ tree, row, guide, height, tones }: Props & { row: FoldRow }) {
  const { graph } = tree;
  const inside = row.of === "siblings" ? outcomeWords(row.nodes, graph) : foldWords(row.nodes, graph);
  const us = spanUs(row.nodes, graph);
  return (
    <>
      <span className="tm" role="gridcell" />
      <Gutter guide={guide} height={height} columnPx={tree.columnPx} {...tones} isFold />
      <span className="ct" role="gridcell">
        <button tabIndex={-1}>
          <Icon name="unfold" small />
          {foldName(row)}
        </button>
        <span className="cut">{row.open ? "fold again" : inside}</span>
      </span>
      <span className="du" role="gridcell">
        {!row.open && us > 0 ? durationWords(us) : ""}
      </span>
    </>
  );
}

function foldName(row: FoldRow): string {
  if (row.of === "calm") return counted(row.count, "event");
  if (row.of === "run") return `×${grouped(row.count)}`;
  if (row.open) return counted(row.count, "effect");
  const below = row.nodes.length - row.count;
  return `+${grouped(row.count)} more ${row.count === 1 ? "effect" : "effects"}${below > 0 ? `, ${grouped(below)} below them` : ""}`;
}

function PortalBody(props: Props & { row: PortalRow }) {
  const { tree, row } = props;
  const node = at(tree.graph.nodes, row.node);
  const mark = <i className="door" />;
  const flow = (
    <>
      <Icon name="portal" small />
      flow <span className="mono cut">{visible(node.correlationId)}</span>
    </>
  );
  const text = (
    <>
      {row.open ? (
        <span className="tag acc">{flow}</span>
      ) : (
        <button className="tag acc" tabIndex={-1} onClick={() => tree.onFold(row.key)}>
          {flow}
          <span>· {counted(row.nodes.length, "event")}</span>
        </button>
      )}
      {row.node !== tree.graph.focus && (
        <Link className="lk xs nw" tabIndex={-1} to="/trace/$eventId" params={{ eventId: node.id }}>
          Open its trace
        </Link>
      )}
    </>
  );
  return <Plain {...props} text={text} mark={mark} />;
}

function TopBody(props: Props & { row: TopRow }) {
  const { tree, row } = props;
  const node = at(tree.graph.nodes, row.node);
  const { zone } = usePreferences();
  const cause = <span className="mono">{shortId(node.causationId ?? "")}</span>;
  if (row.kind === "cycle") {
    const text = (
      <span className="tag warn">
        <Icon name="cycle" small />
        names {cause} as its cause, which came of it
      </span>
    );
    return <Plain {...props} tones={{ below: "cut" }} mark={<i className="stop" />} text={text} />;
  }
  if (row.kind === "causesAbsent") {
    return <Plain {...props} tones={{ below: "unsure" }} mark={<i className="hole" />} text={<LeftOut tree={tree} node={row.node} words="Earlier causes are not loaded" />} />;
  }
  const { date, time } = clockTime(node.occurredAt, zone);
  const since = date === clockTime(new Date(tree.nowMs).toISOString(), zone).date ? time : `${date} ${time}`;
  const absent = tree.absence === "not received" ? `not received yet; waiting since ${since}` : ABSENT[tree.absence];
  const why = absenceOf(node.causationId ?? "", absent);
  const text = (
    <span className="ghost">
      <Icon name={tree.absence === "perhaps not shown" ? "key" : "clock"} small />
      <span className="cut">
        Cause {cause} {why}
      </span>
    </span>
  );
  return <Plain {...props} tones={{ below: "unsure" }} mark={<i className="hole" />} text={text} />;
}

function LeftOut({ tree, node, words }: { tree: Tree; node: number; words: string }) {
  const flow = at(tree.graph.nodes, node).correlationId;
  return (
    <>
      <span className="tag warn">
        <Icon name="warning" small />
        <span className="cut">{words}</span>
      </span>
      <Link className="lk xs nw" tabIndex={-1} to="/explore" search={{ q: `flow:${/[\s"]/.test(flow) ? `"${flow.replaceAll('"', "")}"` : flow}` }}>
        Open in Explore
      </Link>
    </>
  );
}
