import type { ReactNode } from "react";

/** The icons of the console: 16 px, drawn in strokes of the text's colour. */
const SHAPES = {
  explore: <><path d="M2.5 4h11M2.5 8h7M2.5 12h4" /><circle cx="11.5" cy="11" r="2" /><path d="m13 12.5 1.2 1.2" /></>,
  flows: <><circle cx="3.5" cy="4" r="1.5" /><circle cx="12.5" cy="8" r="1.5" /><circle cx="3.5" cy="12" r="1.5" /><path d="M5 4h2.5A2.5 2.5 0 0 1 10 6.5V8h1M5 12h2.5A2.5 2.5 0 0 0 10 9.5V8" /></>,
  resources: <><path d="M8 1.8 13.5 5v6L8 14.2 2.5 11V5z" /><path d="M2.5 5 8 8.2 13.5 5M8 8.2v6" /></>,
  actors: <><circle cx="8" cy="5.5" r="2.5" /><path d="M3 13.5c.6-2.7 2.5-4 5-4s4.4 1.3 5 4" /></>,
  integrity: <><path d="M8 1.8 13 3.6v4c0 3.2-2.1 5.4-5 6.6-2.9-1.2-5-3.4-5-6.6v-4z" /><path d="m5.8 8 1.6 1.6 2.9-3.1" /></>,
  webhooks: <><path d="M6.2 9.5 8.3 5.8a2.2 2.2 0 1 0-2-1.2M8.3 5.8l2.3 4" /><circle cx="11.5" cy="11" r="2.2" /><circle cx="4.5" cy="11" r="2.2" /><path d="M6.7 11h2.6" /></>,
  alerts: <><path d="M8 2a4 4 0 0 0-4 4v3l-1.2 2h10.4L12 9V6a4 4 0 0 0-4-4z" /><path d="M6.6 13.2a1.6 1.6 0 0 0 2.8 0" /></>,
  settings: <><circle cx="8" cy="8" r="2" /><path d="M8 1.8v1.7M8 12.5v1.7M1.8 8h1.7M12.5 8h1.7M3.6 3.6l1.2 1.2M11.2 11.2l1.2 1.2M3.6 12.4l1.2-1.2M11.2 4.8l1.2-1.2" /></>,
  map: <><circle cx="3.5" cy="8" r="1.6" /><circle cx="12.5" cy="3.8" r="1.6" /><circle cx="12.5" cy="12.2" r="1.6" /><path d="M5 7.4 11 4.5M5 8.6l6 2.9" /></>,
  down: <path d="m4.5 6.5 3.5 3.5 3.5-3.5" />,
  right: <path d="m6.5 4.5 3.5 3.5-3.5 3.5" />,
  back: <path d="m9.5 4-4 4 4 4" />,
  search: <><circle cx="7" cy="7" r="4" /><path d="m10 10 3.5 3.5" /></>,
  clock: <><circle cx="8" cy="8" r="5.5" /><path d="M8 5v3l2 1.5" /></>,
  live: <><circle cx="8" cy="8" r="2" fill="currentColor" /><path d="M4.2 11.8a5.4 5.4 0 0 1 0-7.6M11.8 4.2a5.4 5.4 0 0 1 0 7.6" /></>,
  copy: <><rect x="5.5" y="5.5" width="8" height="8" rx="1.5" /><path d="M10.5 5.5v-2a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1h2" /></>,
  up: <path d="M8 12.5v-9M4.5 7 8 3.5 11.5 7" />,
  effects: <path d="M8 3.5v9M4.5 9 8 12.5 11.5 9" />,
  plus: <path d="M8 3.5v9M3.5 8h9" />,
  minus: <path d="M3.5 8h9" />,
  check: <path d="m3.5 8.5 3 3 6-7" />,
  download: <path d="M8 2.5V10M5 7.5l3 3 3-3M3 13.5h10" />,
  close: <path d="m4.5 4.5 7 7M11.5 4.5l-7 7" />,
  more: <path d="M3.5 8h.1M8 8h.1M12.5 8h.1" strokeWidth="2.5" />,
  open: <path d="M9.5 2.5h4v4M13.5 2.5 8 8M6.5 3.5h-3a1 1 0 0 0-1 1v8a1 1 0 0 0 1 1h8a1 1 0 0 0 1-1v-3" />,
  key: <><circle cx="5" cy="11" r="2.5" /><path d="m7 9 6-6M11 5l2 2" /></>,
  warning: <><path d="M8 2.5 14 13H2z" /><path d="M8 6.5v3M8 11.2v.1" /></>,
  unfold: <path d="m5 6 3-3 3 3M5 10l3 3 3-3" />,
  portal: <><rect x="2.5" y="2.5" width="11" height="11" rx="2" /><path d="M6 10l4-4M6.5 6H10v3.5" /></>,
  cycle: <path d="M13 8a5 5 0 0 1-9.2 2.7M3 8a5 5 0 0 1 9.2-2.7M12.5 2.5v3h-3M3.5 13.5v-3h3" />,
  play: <path d="M5.5 3.5v9l7-4.5z" />,
  pause: <path d="M5.5 3.5v9M10.5 3.5v9" />,
  left: <path d="M12.5 8h-9M7 4.500 3.500 8 7 11.500" />,
} satisfies Record<string, ReactNode>;

export type IconName = keyof typeof SHAPES;

/** An icon without a name of its own: the control that holds it is labelled. */
export function Icon({ name, small = false }: { name: IconName; small?: boolean }) {
  return (
    <svg className={small ? "i i12" : "i"} viewBox="0 0 16 16" aria-hidden="true">
      {SHAPES[name]}
    </svg>
  );
}

export function Logo() {
  return (
    <svg width="24" height="24" viewBox="0 0 24 24" role="img" aria-label="Whence">
      <path
        d="M4 5v6.5a4 4 0 0 0 8 0V9m0 2.5a4 4 0 0 0 8 0"
        fill="none"
        stroke="currentColor"
        strokeWidth="2.2"
        strokeLinecap="round"
      />
      <circle cx="20" cy="6.2" r="2.2" fill="var(--accent)" />
    </svg>
  );
}
