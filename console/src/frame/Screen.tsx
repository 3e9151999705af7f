import { Link } from "@tanstack/react-router";
import { useEffect, type ReactNode } from "react";
import { open } from "../palette/open";
import { Icon } from "../common/icons";
import { setPreferences, usePreferences } from "../common/preferences";
import "../common/screens.css";
import { Bar } from "./Bar";
import { visible } from "../common/visible";

/** Search, the zone of times, and the sheet of shortcuts, at the right of a bar. */
export function BarTools() {
  const { zone } = usePreferences();
  const mac = /Mac|iPhone|iPad/.test(navigator.platform);
  return (
    <>
      <button type="button" className="btn jump" onClick={() => open("palette")} aria-label="Search or jump to">
        <Icon name="search" />
        <span className="w">Search or jump to</span>
        <span className="grow" />
        <kbd>{mac ? "⌘K" : "Ctrl K"}</kbd>
      </button>
      <button
        type="button"
        className="btn only-wide"
        title="Show times in UTC or in local time"
        onClick={() => setPreferences({ zone: zone === "utc" ? "local" : "utc" })}
      >
        {zone === "utc" ? "UTC" : "Local"}
      </button>
      <button type="button" className="btn sq only-wide" aria-label="Keyboard shortcuts" onClick={() => open("shortcuts")}>
        <kbd>?</kbd>
      </button>
    </>
  );
}

/** A page with its bar: where one is, then what the page puts there. */
export function Screen({ title, within, tools, children }: {
  title: string;
  /** The list that the page belongs to. */
  within?: { to: string; name: string };
  tools?: ReactNode;
  children: ReactNode;
}) {
  useTitle(title);
  return (
    <>
      <Bar>
        <div className="crumb grow">
          <span className="t3 only-wide" aria-hidden="true">
            /
          </span>
          {within && (
            <>
              <Link to={within.to as never}>{within.name}</Link>
              <span className="t3" aria-hidden="true">
                /
              </span>
            </>
          )}
          <h1 className="cut">{visible(title)}</h1>
        </div>
        {tools}
        <BarTools />
      </Bar>
      {children}
    </>
  );
}

/** Names the tab after the page. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${visible(title)} · Whence`;
  }, [title]);
}
