import { useNavigate } from "@tanstack/react-router";
import { lazy, Suspense } from "react";
import { setPreferences, usePreferences } from "../common/preferences";
import { useShortcuts, type Shortcut } from "../common/shortcuts";
import { open, useOverlay } from "./open";
import { PLACES } from "./places";

const Palette = lazy(() => import("./Palette").then((module) => ({ default: module.Palette })));
const Sheet = lazy(() => import("./Sheet").then((module) => ({ default: module.Sheet })));

/** The shortcuts that every screen has, and the palette and the sheet that they open. */
export function Overlays() {
  const overlay = useOverlay();
  const navigate = useNavigate();
  const { zone, shortcuts } = usePreferences();
  const handled = (run: () => void) => (event: KeyboardEvent) => {
    event.preventDefault();
    run();
  };
  const everywhere: Shortcut[] = [
    { keys: "$mod+k", does: "Search or jump to", inFields: true, run: handled(() => open(overlay === "palette" ? null : "palette")) },
    { keys: "Shift+?", does: "These shortcuts", run: handled(() => open("shortcuts")) },
    { keys: "$mod+/", does: "Switch shortcuts on or off", inFields: true, run: handled(() => setPreferences({ shortcuts: !shortcuts })) },
    { keys: "u", does: "UTC or local time", run: () => setPreferences({ zone: zone === "utc" ? "local" : "utc" }) },
  ];
  const going = PLACES.map(({ to, name, keys }): Shortcut => ({ keys, does: name, run: () => void navigate({ to: to as never, search: {} as never }) }));
  useShortcuts("Everywhere", everywhere);
  useShortcuts("Go to", going);
  return (
    <Suspense>
      {overlay === "palette" && <Palette />}
      {overlay === "shortcuts" && <Sheet />}
    </Suspense>
  );
}
