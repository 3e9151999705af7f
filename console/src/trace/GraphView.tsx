import { useEffect, useMemo, useRef } from "react";
import { ActorGlyph, asOutcome, OutcomeMark } from "../common/marks";
import { sinceRoot } from "../common/times";
import { at, isFailure, timeOf, type Graph } from "./graph";
import { BOX, placed } from "./graphLayout";
import type { EventRow, Row } from "./rows";
import { rowText, rowWords } from "./words";

interface Props {
  graph: Graph;
  rows: readonly Row[];
  selected: number;
  onNode: (node: number) => void;
}

/** A small trace as boxes and lines. The tree is the same in text. */
export default function GraphView({ graph, rows, selected, onNode }: Props) {
  const drawing = useMemo(() => placed(rows, graph), [rows, graph]);
  const scroller = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const box = drawing.boxes.find(({ row }) => row.nodes.includes(graph.focus));
    const element = scroller.current;
    if (box === undefined || element === null) return;
    element.scrollTo(box.x + BOX.width / 2 - element.clientWidth / 2, box.y - element.clientHeight / 2);
  }, [drawing, graph]);
  return (
    <div className="gv" ref={scroller} tabIndex={0} role="group" aria-label="The trace as a graph; the tree has the same in text">
      <div style={{ width: drawing.width, height: drawing.height }}>
        <svg width={drawing.width} height={drawing.height} aria-hidden="true">
          {drawing.lines.map(({ key, d, isSolid }) => (
            <path key={key} d={d} fill="none" stroke="var(--accent)" strokeWidth="1.5" strokeDasharray={isSolid ? undefined : "2 3"} />
          ))}
        </svg>
        {drawing.boxes.map(({ row, x, y }) => (
          <Box key={row.key} row={row} graph={graph} x={x} y={y} isSelected={row.nodes.includes(selected)} onNode={onNode} />
        ))}
      </div>
    </div>
  );
}

function Box({ row, graph, x, y, isSelected, onNode }: { row: EventRow; graph: Graph; x: number; y: number; isSelected: boolean; onNode: (node: number) => void }) {
  const words = rowWords(row, graph);
  const last = at(graph.nodes, row.nodes[row.nodes.length - 1] ?? row.node);
  const outcome = row.nodes.some((node) => isFailure(at(graph.nodes, node))) ? "failure" : asOutcome(last.outcome);
  const isFocus = row.nodes.includes(graph.focus);
  return (
    <button
      className={isFocus ? "gb cur" : "gb"}
      aria-pressed={isSelected}
      aria-label={`${rowText(row, graph)}, ${sinceRoot(timeOf(at(graph.nodes, row.node)))}`}
      style={{ left: x, top: y, width: BOX.width, height: BOX.height }}
      onClick={() => onNode(row.node)}
    >
      <OutcomeMark outcome={outcome} />
      <span className="cut">
        <span className="act">
          <ActorGlyph type={words.actorType} />
          {words.actor}
        </span>{" "}
        <span className={outcome === "failure" && words.failed === "" ? "fw" : "t2"}>{words.verb}</span>
        <span className="l2 cut">
          {words.object !== "" && <span className="obj">{words.object}</span>}{" "}
          {words.failed !== "" && <span className="fw">{words.failed}</span>}{" "}
          <span className="det">{words.detail}</span>
        </span>
      </span>
    </button>
  );
}
