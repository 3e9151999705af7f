/** Where the keys `g` and a letter go, and what the palette offers. */
export interface Place {
  to: string;
  name: string;
  keys: string;
}

export const PLACES: readonly Place[] = [
  { to: "/explore", name: "Explore", keys: "g e" },
  { to: "/flows", name: "Flows", keys: "g t" },
  { to: "/map", name: "Map", keys: "g m" },
  { to: "/resources", name: "Resources", keys: "g r" },
  { to: "/actors", name: "Actors", keys: "g a" },
  { to: "/integrity", name: "Integrity", keys: "g i" },
  { to: "/webhooks", name: "Webhooks", keys: "g w" },
  { to: "/alerts", name: "Alerts", keys: "g l" },
  { to: "/settings", name: "Settings", keys: "g s" },
];
