import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import type { Search } from "./search";
import { Icon } from "./icons";
import { Pop } from "./Pop";
import { usePreferences } from "./preferences";
import { whenText } from "./When";

export interface Period {
  from?: string | undefined;
  to?: string | undefined;
}

const PRESETS: readonly (readonly [string | undefined, string])[] = [
  [undefined, ""],
  ["-1h", "Last hour"],
  ["-24h", "Last 24 hours"],
  ["-7d", "Last 7 days"],
  ["-30d", "Last 30 days"],
  ["-90d", "Last 90 days"],
];

/** The period in the address. */
export function usePeriod(): Period {
  const { from, to } = useSearch({ strict: false }) as Search;
  return { from, to };
}

/** The query parameters of a period. */
export const periodQuery = ({ from, to }: Period) => ({ ...(from && { from }), ...(to && { to }) });

function usePeriodWords({ from, to }: Period, none: string): string {
  const { zone } = usePreferences();
  const words = (text: string) => (/^\d{4}-\d\d-\d\dT/.test(text) && !Number.isNaN(Date.parse(text)) ? whenText(text, zone) : text);
  if (!from && !to) return none;
  const preset = PRESETS.find(([value]) => value === from);
  if (!to) return preset?.[1] ?? `Since ${words(from ?? "")}`;
  return from ? `${words(from)} – ${words(to)}` : `Until ${words(to)}`;
}

/** Chooses the period, which is part of the address. `none` says which one is meant when none is chosen. */
export function PeriodMenu({ none = "All time" }: { none?: string }) {
  const period = usePeriod();
  const navigate = useNavigate();
  const words = usePeriodWords(period, none);
  function choose({ from, to }: Period) {
    const search = (before: Search): Search => {
      const { from: _from, to: _to, ...rest } = before;
      return { ...rest, ...periodQuery({ from, to }) };
    };
    void navigate({ to: ".", search: search as never });
  }
  return (
    <Pop
      name="Period"
      className="btn o period"
      says={`Period: ${words}`}
      label={
        <>
          <Icon name="clock" />
          <span className="cut">{words}</span>
          <Icon name="down" small />
        </>
      }
    >
      {(close) => (
        <>
          {PRESETS.map(([from, name]) => (
            <button
              key={name}
              type="button"
              className="item"
              aria-pressed={!period.to && period.from === from}
              onClick={() => {
                choose({ from });
                close();
              }}
            >
              {name || none}
            </button>
          ))}
          <hr />
          <Exactly key={`${period.from} ${period.to}`} period={period} choose={choose} close={close} />
        </>
      )}
    </Pop>
  );
}

function Exactly({ period, choose, close }: { period: Period; choose: (period: Period) => void; close: () => void }) {
  const [from, setFrom] = useState(period.from ?? "");
  const [to, setTo] = useState(period.to ?? "");
  return (
    <form
      className="form"
      style={{ padding: "4px 8px", gap: 8 }}
      onSubmit={(event) => {
        event.preventDefault();
        choose({ from: from.trim() || undefined, to: to.trim() || undefined });
        close();
      }}
    >
      <label className="xs">
        From
        <input value={from} onChange={(event) => setFrom(event.target.value)} placeholder="2026-01-31, or -3d" />
      </label>
      <label className="xs">
        To, not included
        <input value={to} onChange={(event) => setTo(event.target.value)} placeholder="2026-02-01T12:00Z" />
      </label>
      <button className="btn o">Apply</button>
    </form>
  );
}
