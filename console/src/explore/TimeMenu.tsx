import { Popover } from "@base-ui/react/popover";
import { useState, type FormEvent } from "react";
import { Icon } from "../common/icons";
import { setPreferences, usePreferences } from "../common/preferences";
import { useShortcuts } from "../common/shortcuts";
import type { Change } from "./address";
import { fieldOf, instantOf, periodName, PRESETS, type Period } from "./periods";

/** The period: relative, or from one instant to another, in UTC or local time. */
export function TimeMenu({ period, change }: { period: Period; change: Change }) {
  const { zone } = usePreferences();
  const [isOpen, setOpen] = useState(false);
  useShortcuts("Explore", [{ keys: "t", does: "Choose the period", run: () => setOpen(true) }]);
  const name = periodName(period, zone);
  const choose = (from: string | undefined, to: string | undefined) => {
    setOpen(false);
    change({ from, to });
  };
  return (
    <Popover.Root open={isOpen} onOpenChange={setOpen}>
      <Popover.Trigger className="btn o period" aria-label={`Period: ${name}`}>
        <Icon name="clock" />
        <span className="cut">{name}</span>
        <span className="t3">{zone === "utc" ? "UTC" : "local"}</span>
        <Icon name="down" small />
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Positioner sideOffset={6} align="end" className="floating">
          <Popover.Popup className="menu time-menu" aria-label="Period">
            <ul>
              {PRESETS.map((preset) => (
                <li key={preset.name}>
                  <button
                    className="menu-item"
                    aria-pressed={preset.from === period.from && !period.to}
                    onClick={() => choose(preset.from, undefined)}
                  >
                    {preset.name}
                    {preset.from === period.from && !period.to && <Icon name="check" small />}
                  </button>
                </li>
              ))}
            </ul>
            <Between key={`${period.from} ${period.to} ${zone}`} period={period} onChoose={choose} />
          </Popover.Popup>
        </Popover.Positioner>
      </Popover.Portal>
    </Popover.Root>
  );
}

function Between({ period, onChoose }: { period: Period; onChoose: (from?: string, to?: string) => void }) {
  const { zone } = usePreferences();
  const [from, setFrom] = useState(fieldOf(period.from, zone));
  const [to, setTo] = useState(fieldOf(period.to, zone));
  const [start, end] = [instantOf(from, zone), instantOf(to, zone)];
  const isBackwards = start !== undefined && end !== undefined && start > end;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!isBackwards) onChoose(start, end);
  };
  return (
    <form className="between" onSubmit={submit}>
      <label>
        From
        <input type="datetime-local" step="1" value={from} onChange={(event) => setFrom(event.target.value)} />
      </label>
      <label>
        Before
        <input type="datetime-local" step="1" value={to} onChange={(event) => setTo(event.target.value)} />
      </label>
      {isBackwards && (
        <p className="xs warn-text" role="alert">
          The period ends before it begins.
        </p>
      )}
      <div className="fx g2">
        <div className="seg" role="group" aria-label="Time zone">
          {(["utc", "local"] as const).map((each) => (
            <button key={each} type="button" aria-pressed={zone === each} onClick={() => setPreferences({ zone: each })}>
              {each === "utc" ? "UTC" : "Local"}
            </button>
          ))}
        </div>
        <span className="grow" />
        <button className="btn p" type="submit" disabled={isBackwards}>
          Apply
        </button>
      </div>
    </form>
  );
}
