import { useId } from "react";
import type { Schemas } from "../api/client";
import { usePreferences } from "./preferences";
import { stacked } from "./stack";
import { counted } from "./times";
import { whenText } from "./When";

/** Counts over a period as small bars; a picture beside figures that say the same. */
export function Sparkline({ counts, label }: { counts: readonly number[]; label: string }) {
  const most = Math.max(1, ...counts);
  const step = 4;
  return (
    <svg width={counts.length * step} height="20" role="img" aria-label={label}>
      {counts.map((count, index) => {
        const height = count === 0 ? 1 : Math.max(2, (count / most) * 19);
        return <rect key={index} x={index * step} y={20 - height} width={step - 1} height={height} fill={count === 0 ? "var(--line-strong)" : "var(--none)"} />;
      })}
    </svg>
  );
}

/** Events over time, stacked by outcome: failures hatched and at the base. */
export function OutcomeBars({ histogram, width = 300, height = 44 }: { histogram: Schemas["Histogram"]; width?: number; height?: number }) {
  const { zone } = usePreferences();
  const id = useId();
  const keys = histogram.keys.map(({ key }) => key);
  const most = Math.max(1, ...histogram.buckets.map(({ total }) => total));
  const slot = width / Math.max(1, histogram.buckets.length);
  const failures = histogram.keys.find(({ key }) => key === "failure")?.count ?? 0;
  const first = histogram.buckets[0];
  const last = histogram.buckets[histogram.buckets.length - 1];
  return (
    <figure className="bars" style={{ width: "100%", maxWidth: width }}>
      <svg viewBox={`0 0 ${width} ${height}`} width="100%" height={height} preserveAspectRatio="none" role="img" aria-label={`${counted(histogram.total, "event")}, ${failures} failed`}>
        <defs>
          <pattern id={id} width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
            <rect width="4" height="4" fill="var(--area-fail)" />
            <rect width="1.3" height="4" fill="var(--bg)" />
          </pattern>
        </defs>
        {histogram.buckets.map(({ start, counts }, index) =>
          stacked(counts, keys, most, height).map(({ key, y, height: tall }) => (
            <rect
              key={`${start} ${key}`}
              x={index * slot}
              y={y}
              width={Math.max(1, slot - 1)}
              height={tall}
              fill={key === "failure" ? (tall >= 5 ? `url(#${id})` : "var(--area-fail)") : key === "success" ? "var(--area-ok)" : "var(--area-none)"}
            />
          )),
        )}
      </svg>
      {first && last && (
        <figcaption className="fx xs t3">
          <span>{whenText(first.start, zone)}</span>
          <span className="grow" />
          {first !== last && <span>{whenText(last.start, zone)}</span>}
        </figcaption>
      )}
    </figure>
  );
}

/** A count as a bar, the failed part first. */
export function CountBar({ count, failures, most }: { count: number; failures: number; most: number }) {
  const share = most === 0 ? 0 : (count / most) * 100;
  return (
    <span className="count-bar" aria-hidden="true">
      <i style={{ width: `${share}%` }}>{failures > 0 && <b style={{ width: `${count === 0 ? 0 : (failures / count) * 100}%` }} />}</i>
    </span>
  );
}
