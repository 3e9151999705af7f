import { useMemo } from "react";
import type { Tone } from "./Gutter";
import { at, type Graph } from "./graph";
import { buildGuides } from "./guides";
import type { Heights } from "./heights";
import type { Played } from "./play";
import { RowList } from "./RowList";
import type { Row } from "./rows";
import { rowId, TreeRow, type Tree } from "./TreeRow";

interface Props {
  graph: Graph;
  rows: readonly Row[];
  heights: Heights;
  tree: Tree;
  cursor: number;
  target: { row: number; turn: number };
  onSelect: (index: number) => void;
  lookOf: (row: Row) => Played;
}

type Tones = { above?: Tone; below?: Tone };
const PLAIN: Tones = {};
const AFTER: Partial<Record<Row["kind"], Tones>> = { ghost: { above: "unsure" }, causesAbsent: { above: "unsure" }, cycle: { above: "cut" } };
const DIM: Tones = { above: "grey", below: "grey" };

/** The tree of causes and effects. */
export function TreeView({ graph, rows, heights, tree, cursor, target, onSelect, lookOf }: Props) {
  const guides = useMemo(() => buildGuides(rows, graph), [rows, graph]);
  const tonesOf = (index: number): Tones => {
    const { relation } = at(rows, index);
    if (tree.isBlast && relation !== "effect" && relation !== "focus") return DIM;
    return AFTER[rows[index - 1]?.kind ?? "event"] ?? PLAIN;
  };
  return (
    <RowList rows={rows} heights={heights} cursor={cursor} label="Causes and effects" target={target} rowId={rowId}>
      {(index, height, top) => (
        <TreeRow
          key={at(rows, index).key}
          tree={tree}
          row={at(rows, index)}
          guide={at(guides, index)}
          index={index}
          height={height}
          top={top}
          isCursor={index === cursor}
          tones={tonesOf(index)}
          look={lookOf(at(rows, index))}
          onSelect={onSelect}
        />
      )}
    </RowList>
  );
}
