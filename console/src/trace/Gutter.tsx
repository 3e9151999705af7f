import type { ReactNode } from "react";
import type { Guide, Stroke } from "./guides";

export const COLUMN_PX = 22;
export const GUTTER_PX = 26;

/** The tone of a line. Cause is blue; one that is out of the question is grey; one that is missing or cut is dotted too. */
export type Tone = "accent" | "grey" | "unsure" | "cut";
const COLOURS: Record<Tone, string> = { accent: "var(--accent)", grey: "var(--line-control)", unsure: "var(--line-control)", cut: "var(--warn)" };
const isDotted = (tone: Tone): boolean => tone === "unsure" || tone === "cut";

interface Props {
  guide: Guide;
  height: number;
  columnPx: number;
  /** What stands on the line: an outcome, a portal, a break. */
  children?: ReactNode;
  above?: Tone;
  below?: Tone;
  /** A fold: one dotted line without a mark. */
  isFold?: boolean;
  /** A break: the line leaves room for two strokes. */
  isBreak?: boolean;
}

/** The lines of one row, and its mark. */
export function Gutter({ guide, height, columnPx, children, above = "accent", below = "accent", isFold, isBreak }: Props) {
  const middle = height / 2;
  const x = guide.column * columnPx + GUTTER_PX / 2;
  const hole = isBreak ? 6 : 0;
  return (
    <span className="nd" role="gridcell" style={{ width: guide.column * columnPx + GUTTER_PX }}>
      <svg width={guide.column * columnPx + GUTTER_PX} height={height} aria-hidden="true">
        {guide.passes.map(({ column, stroke }) => (
          <Line key={column} d={`M${column * columnPx + GUTTER_PX / 2} 0V${height}`} stroke={stroke} colour={COLOURS.accent} />
        ))}
        {guide.turns.map(({ column, stroke }) => (
          <Line key={`t${column}`} d={turn(column * columnPx + GUTTER_PX / 2, x, middle)} stroke={stroke} colour={COLOURS[above]} />
        ))}
        {guide.above !== null && <Line d={`M${x} 0V${middle - hole}`} stroke={isFold || isDotted(above) ? "dotted" : guide.above} colour={COLOURS[above]} />}
        {guide.below !== null && <Line d={`M${x} ${middle + hole}V${height}`} stroke={isFold || isDotted(below) ? "dotted" : guide.below} colour={COLOURS[below]} />}
        {isBreak && guide.above !== null && (
          <path d={`M${x - 5} ${middle - 4}l10-4M${x - 5} ${middle + 8}l10-4`} stroke={COLOURS.accent} strokeWidth="1.5" />
        )}
      </svg>
      {children !== undefined && (
        <span className="at" style={{ left: x, top: middle }}>
          {children}
        </span>
      )}
    </span>
  );
}

function turn(from: number, to: number, middle: number): string {
  const bend = Math.min(12, to - from, middle);
  return `M${from} 0V${middle - bend}q0 ${bend} ${bend} ${bend}H${to}`;
}

function Line({ d, stroke, colour }: { d: string; stroke: Stroke; colour: string }) {
  return <path d={d} fill="none" stroke={colour} strokeWidth="2" strokeDasharray={stroke === "dotted" ? "2 3" : undefined} />;
}
