import type { ReactNode } from "react";
import type { CauseGuide } from "./together";

/** The width of a lane. */
const LANE_PX = 20;
/** How far the curve around a mark bends, so that its middle is beside the mark. */
const BEND_PX = 18;

const laneX = (lane: number): number => lane * LANE_PX + LANE_PX / 2;

/** The lanes of one row: the lines of causes, and the mark of an event in its lane. Rows between two events have only `passes`. */
export function LaneMarks({ count, at, guide, children }: {
  count: number;
  /** The lane of the mark. */
  at?: number;
  guide: Pick<CauseGuide, "passes"> & Partial<CauseGuide>;
  children?: ReactNode;
}) {
  const { from = null, leads = false, passes } = guide;
  const x = laneX(at ?? 0);
  const lines = [
    ...passes.map((lane) => (lane === at ? `M${x} 0Q${x - BEND_PX} 50 ${x} 100` : `M${laneX(lane)} 0V100`)),
    ...(leads ? [`M${x} 0V50`] : []),
    ...(from === null ? [] : [`M${laneX(from)} 100L${x} 50`]),
  ];
  return (
    <span className="lanes" style={{ width: count * LANE_PX }}>
      <svg width={count * LANE_PX} viewBox={`0 0 ${count * LANE_PX} 100`} preserveAspectRatio="none" aria-hidden="true">
        <path d={lines.join("")} fill="none" stroke="var(--accent)" strokeWidth="1.5" vectorEffect="non-scaling-stroke" />
      </svg>
      {at !== undefined && <span style={{ marginLeft: at * LANE_PX }}>{children}</span>}
    </span>
  );
}
