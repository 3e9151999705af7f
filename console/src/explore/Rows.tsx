import { defaultRangeExtractor, useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type RefObject } from "react";
import type { LogEvent } from "../api/events";
import type { FullSentence } from "../sentences/sentences";
import { Icon } from "../common/icons";
import { usePreferences } from "../common/preferences";
import { useShortcuts } from "../common/shortcuts";
import { useReach } from "./reach";
import { Row, type RowActions } from "./Row";
import { listRows, movedTo, rowHeight } from "./rows";

interface Props extends RowActions {
  events: readonly LogEvent[];
  sentences: ReadonlyMap<string, FullSentence>;
  total: number;
  selected: string | undefined;
  hidden: readonly string[];
  /** The rows are of the query before. */
  isStale: boolean;
  hasMore: boolean;
  isLoadingMore: boolean;
  loadMore: () => void;
  scroller: RefObject<HTMLDivElement | null>;
  /** What the place in the list is kept under, for a reader who comes back. */
  place: string;
  isPhone: boolean;
  /** The ids of events that are chosen to be compared, at most two. */
  picked: readonly string[];
  onPick: (id: string) => void;
  onCompare: () => void;
  onClose: () => void;
  onFilter: (name: string, value: string, isExcluded: boolean) => void;
  onResource: (event: LogEvent) => void;
  onActor: (event: LogEvent) => void;
}

/** Events as a grid of which only the visible rows exist. One row has the focus; j, k and the arrows move it. */
export function Rows(props: Props) {
  const { events, total, selected, hasMore, isLoadingMore, loadMore, scroller } = props;
  const { zone } = usePreferences();
  const rows = useMemo(() => listRows(events, zone), [events, zone]);
  const height = useRowHeight(props.isPhone);
  const [focused, setFocused] = useState(places.get(props.place)?.focused ?? 0);
  const [, setMoves] = useState(0);
  const wantsFocus = useRef(false);
  /** The first j goes to the first row, not past it. */
  const wasMoved = useRef(false);
  const at = Math.min(focused, Math.max(0, rows.length - 1));
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: (index) => rowHeight(rows[index], height),
    getItemKey: (index) => rows[index]?.event.id ?? index,
    overscan: 8,
    paddingStart: 4,
    paddingEnd: 12,
    rangeExtractor: (range) => {
      const visible = defaultRangeExtractor(range);
      return visible.includes(at) || at >= rows.length ? visible : [...visible, at].sort((one, other) => one - other);
    },
  });
  useEffect(() => virtualizer.measure(), [virtualizer, height, rows]);
  useKeptPlace(props.place, scroller, at);
  const items = virtualizer.getVirtualItems();
  const lastIndex = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (hasMore && !isLoadingMore && lastIndex >= rows.length - 30) loadMore();
  }, [hasMore, isLoadingMore, lastIndex, rows.length, loadMore]);
  useEffect(() => {
    const index = rows.findIndex((row) => row.event.id === selected);
    if (index >= 0) setFocused(index);
    // Only another selection moves the focus, not more rows.
  }, [selected]);
  useEffect(() => {
    if (!wantsFocus.current) return;
    wantsFocus.current = false;
    scroller.current?.querySelector<HTMLElement>(`[data-index="${at}"] .row`)?.focus({ preventScroll: true });
  });
  const reach = useReach(items.map((item) => rows[item.index]?.event.id ?? "").filter(Boolean));

  const onFocusRow = useCallback((index: number) => {
    wasMoved.current = true;
    setFocused(index);
  }, []);
  const focus = (index: number) => {
    wantsFocus.current = true;
    wasMoved.current = true;
    setFocused(index);
    setMoves((count) => count + 1);
    virtualizer.scrollToIndex(index, { align: "auto" });
    const next = rows[index]?.event;
    if (selected && next) props.onPeek(next.id, { replace: true });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const current = rows[at]?.event;
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / height) - 1);
    const next = movedTo(event.key, at, rows.length, page);
    const act = next !== null ? () => focus(next) : current ? actionOf(event.key, current, props) : undefined;
    if (!act) return;
    event.preventDefault();
    act();
  };
  const on = (act: (event: LogEvent) => void) => () => {
    const current = rows[at]?.event;
    if (current) act(current);
  };
  useShortcuts("Events", [
    { keys: "j", does: "Next event", run: () => focus(Math.min(rows.length - 1, at + (wasMoved.current ? 1 : 0))) },
    { keys: "k", does: "Event before", run: () => focus(Math.max(0, at - 1)) },
    { keys: "w", does: "Why: open the trace", run: on((event) => props.onTrace(event.id)) },
    { keys: "e", does: "Only what it caused", run: on((event) => props.onFilter("cause", event.id, false)) },
    { keys: "f", does: "Filter for its type", run: on((event) => props.onFilter("type", event.eventType, false)) },
    { keys: "Shift+F", does: "Filter out its type", run: on((event) => props.onFilter("type", event.eventType, true)) },
    { keys: "x", does: "Choose it, to compare two", run: on((event) => props.onPick(event.id)) },
    { keys: "d", does: "Compare the two that are chosen", run: props.onCompare },
    { keys: "r", does: "Open its resource", run: on(props.onResource) },
    { keys: "a", does: "Open its actor", run: on(props.onActor) },
  ]);
  return (
    <div
      className={`rows${props.isStale ? " stale" : ""}`}
      ref={scroller}
      role="grid"
      aria-label="Events"
      aria-rowcount={total + 1}
      aria-busy={props.isStale}
      onKeyDown={onKeyDown}
    >
      <Head hidden={props.hidden} zone={zone} />
      <div role="rowgroup" className="rows-all" style={{ height: virtualizer.getTotalSize() }}>
        {items.map((item) => {
          const row = rows[item.index];
          if (!row) return null;
          return (
            <div key={item.key} role="presentation" data-index={item.index} className="row-place" style={{ transform: `translateY(${item.start}px)` }}>
              <Row
                row={row}
                index={item.index}
                sentence={props.sentences.get(row.event.id)}
                reach={reach.get(row.event.id)}
                isSelected={row.event.id === selected}
                isPicked={props.picked.includes(row.event.id)}
                isTabStop={item.index === at}
                hidden={props.hidden}
                isPhone={props.isPhone}
                onFocusRow={onFocusRow}
                onPeek={props.onPeek}
                onOpen={props.onOpen}
                onTrace={props.onTrace}
              />
            </div>
          );
        })}
      </div>
      {isLoadingMore && <p className="xs t3 more-rows">Reading more…</p>}
    </div>
  );
}

const PLACES_KEPT = 50;
const places = new Map<string, { top: number; focused: number }>();

/** Keeps where the list stands when the page is left, and goes there again when the reader comes back. */
function useKeptPlace(place: string, scroller: RefObject<HTMLDivElement | null>, focused: number): void {
  const latest = useRef(focused);
  latest.current = focused;
  useLayoutEffect(() => {
    const list = scroller.current;
    const kept = places.get(place);
    if (!list) return;
    if (kept) list.scrollTop = kept.top;
    const keep = () => {
      if (places.size > PLACES_KEPT) places.clear();
      places.set(place, { top: list.scrollTop, focused: latest.current });
    };
    list.addEventListener("scroll", keep, { passive: true });
    return () => list.removeEventListener("scroll", keep);
  }, [place, scroller]);
}

function actionOf(key: string, event: LogEvent, props: Props): (() => void) | undefined {
  return {
    Enter: () => props.onOpen(event.id),
    " ": () => (props.selected === event.id ? props.onClose() : props.onPeek(event.id)),
    Escape: props.selected ? props.onClose : undefined,
  }[key];
}

function Head({ hidden, zone }: { hidden: readonly string[]; zone: "utc" | "local" }) {
  return (
    <div className="thead" role="row" aria-rowindex={1}>
      <span role="columnheader" aria-label="Outcome" />
      <span role="columnheader" aria-sort="descending">
        Time, {zone === "utc" ? "UTC" : "local"} ↓
      </span>
      <span role="columnheader">Event</span>
      {!hidden.includes("resource") && (
        <span role="columnheader" className="in-resource">
          Resource
        </span>
      )}
      {!hidden.includes("causes") && (
        <span role="columnheader" className="r">
          Causes
        </span>
      )}
      {!hidden.includes("effects") && (
        <span role="columnheader" className="r">
          Effects
        </span>
      )}
    </div>
  );
}

/** The height of a row by the density in force. */
function useRowHeight(isPhone: boolean): number {
  const { density } = usePreferences();
  return isPhone ? 54 : density === "compact" ? 26 : 32;
}

/** A row's place while it is on its way. */
export function WaitingRows() {
  return (
    <div className="rows waiting" role="status" aria-label="Loading events">
      {Array.from({ length: 14 }, (_, index) => (
        <div className="row" key={index} data-length={index % 4}>
          <i />
          <i />
          <i />
        </div>
      ))}
    </div>
  );
}

export function NewPill({ count, onShow }: { count: number; onShow: () => void }) {
  if (count === 0) return null;
  return (
    <button className="newpill" onClick={onShow}>
      <Icon name="up" small />
      {count.toLocaleString("en-US")} new {count === 1 ? "event" : "events"}
    </button>
  );
}
