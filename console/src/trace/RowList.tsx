import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useRef, type ReactNode } from "react";
import { at } from "./graph";
import { rowHeight, type Heights } from "./heights";
import type { Row } from "./rows";

interface Props {
  rows: readonly Row[];
  heights: Heights;
  cursor: number;
  label: string;
  /** Where to scroll to: a row, and a number that changes with every wish. */
  target: { row: number; turn: number };
  head?: ReactNode;
  rowId: (index: number) => string;
  children: (index: number, height: number, top: number) => ReactNode;
}

/** Room below the selected event at first, for some of its effects. */
const ROOM_PX = 120;

function bottomOf(row: number, rows: readonly Row[], heights: Heights): number {
  let bottom = 0;
  for (let index = 0; index <= row; index++) bottom += rowHeight(at(rows, index), heights);
  return bottom;
}

/** The rows of a trace as a treegrid, of which only those in sight are drawn. The focus stays on the grid. */
export function RowList({ rows, heights, cursor, label, target, head, rowId, children }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  // The same functions from one drawing to the next, since all rows are measured again for new ones.
  const estimateSize = useCallback((index: number) => rowHeight(at(rows, index), heights), [rows, heights]);
  const getItemKey = useCallback((index: number) => at(rows, index).key, [rows]);
  const virtualizer = useVirtualizer({ count: rows.length, getScrollElement: () => scroller.current, estimateSize, getItemKey, overscan: 12, paddingEnd: 24 });
  useEffect(() => virtualizer.measure(), [virtualizer, rows, heights]);
  useEffect(() => {
    const element = scroller.current;
    if (target.row < 0 || element === null) return;
    const isFirst = target.turn === 1;
    // At first the causes are read from the top, if the selected event is in sight then.
    if (isFirst && bottomOf(target.row, rows, heights) <= element.clientHeight - ROOM_PX) return;
    virtualizer.scrollToIndex(target.row, { align: isFirst ? "center" : "auto" });
  }, [virtualizer, target]);
  return (
    <div className="tt">
      {head}
      <div
        className="rows-in"
        ref={scroller}
        role="treegrid"
        aria-label={label}
        aria-rowcount={rows.length}
        aria-activedescendant={cursor >= 0 ? rowId(cursor) : undefined}
        tabIndex={0}
      >
        <div role="rowgroup" className="canvas" style={{ height: virtualizer.getTotalSize() }}>
          {virtualizer.getVirtualItems().map((item) => children(item.index, item.size, item.start))}
        </div>
      </div>
    </div>
  );
}
