import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { LogEvent } from "../api/events";
import { Peek } from "../event/Peek";
import { Bar } from "../frame/Bar";
import { namedFailures, type FullSentence } from "../sentences/sentences";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { Icon } from "../common/icons";
import { useShortcuts } from "../common/shortcuts";
import { useExploration, type Change, type Exploration, type Filters } from "./address";
import { beforeOptions, eventsKey, eventsOptions, facetsOptions, histogramOptions, payloadFacetsOptions, payloadPathsOptions, readPage } from "./answers";
import type { Histogram as Counts } from "./bars";
import { periodBefore } from "./compare";
import { CompareDialog, PickBar } from "./CompareDialog";
import { Facets } from "./Facets";
import { FacetSheet } from "./FacetSheet";
import { FreshLog } from "./FreshLog";
import { Histogram } from "./Histogram";
import { useLive, type Live } from "./live";
import { useWidthAtMost } from "./media";
import { MoreMenu } from "./MoreMenu";
import { instant } from "./periods";
import { QueryBar, wrongTerm } from "./QueryBar";
import { NewPill, Rows, WaitingRows } from "./Rows";
import { ErrorNotice, NothingMatches, SlowNotice } from "./states";
import { withTerm } from "./terms";
import { TimeMenu } from "./TimeMenu";
import "./explore.css";

/** Every event that matches, newest first: a query, a period, facets, a histogram, rows, and one event beside them. */
export function ExplorePage() {
  const [exploration, change] = useExploration();
  const { q, from, to } = exploration;
  const filters = useMemo<Filters>(() => ({ q, from, to }), [q, from, to]);
  const isPhone = useWidthAtMost(719);
  const list = useInfiniteQuery(eventsOptions(filters));
  const facets = useQuery({ ...facetsOptions(filters), enabled: q === "" || list.data !== undefined });
  const live = useLive(exploration.live, q);
  const first = list.data?.pages[0];
  const isFresh = first?.total === 0 && !q && !from && !to && !list.isPlaceholderData;
  const setQuery = (next: string) => change({ q: next });
  useCountsAfterFirst(isFresh);
  useShortcuts("Explore", [{ keys: "l", does: "Follow live, or stop", run: () => change({ live: !exploration.live }, { replace: true }) }]);
  const paths = useQuery({ ...payloadPathsOptions, enabled: facets.data !== undefined }).data ?? [];
  const payload = useQuery({ ...payloadFacetsOptions(filters, paths), enabled: paths.length > 0 });
  const uncounted = payload.isError ? paths : [];
  const facetList = (
    <Facets answer={useKept(facets.data)} payload={payload.isError ? undefined : payload.data} uncounted={uncounted} q={q} onChange={setQuery} />
  );
  return (
    <>
      <Bar>
        <QueryBar q={q} onChange={setQuery} error={list.error} placeholder={isFresh ? "No events to search yet" : "Filter events"} />
        {!isPhone && <TimeMenu period={exploration} change={change} />}
        {!isPhone && <LiveButton live={live} isOn={exploration.live} change={change} />}
        {isPhone && <FacetSheet>{facetList}</FacetSheet>}
        <MoreMenu exploration={exploration} change={change} isPhone={isPhone} />
      </Bar>
      {isFresh ? (
        <FreshLog />
      ) : (
        <div className="work">
          {!isPhone && (
            <aside className="facets" aria-label="Filters" tabIndex={0}>
              {facetList}
            </aside>
          )}
          <List exploration={exploration} change={change} filters={filters} list={list} live={live} isPhone={isPhone} />
        </div>
      )}
    </>
  );
}

/** Counts anew once the first event is there: what was counted before was an empty log. */
function useCountsAfterFirst(isFresh: boolean): void {
  const client = useQueryClient();
  const wasFresh = useRef(isFresh);
  useEffect(() => {
    if (wasFresh.current && !isFresh) for (const counts of ["histogram", "facets"]) void client.invalidateQueries({ queryKey: ["events", counts] });
    wasFresh.current = isFresh;
  }, [client, isFresh]);
}

function LiveButton({ live, isOn, change }: { live: Live; isOn: boolean; change: Change }) {
  const words = { off: "Follow the log live", connecting: "Connecting", on: "Following; click to stop", refused: "The stream was refused" };
  return (
    <button className="btn o" aria-pressed={isOn} title={words[live.state]} onClick={() => change({ live: !isOn }, { replace: true })}>
      <Icon name="live" />
      {isOn && live.state === "connecting" ? "Connecting" : "Live"}
      <kbd aria-hidden="true">l</kbd>
    </button>
  );
}

interface ListProps {
  exploration: Exploration;
  change: Change;
  filters: Filters;
  list: ReturnType<typeof useInfiniteQuery<Awaited<ReturnType<typeof readPage>>>>;
  live: Live;
  isPhone: boolean;
}

function List({ exploration, change, filters, list, live, isPhone }: ListProps) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const scroller = useRef<HTMLDivElement>(null);
  const { sel } = exploration;
  const pages = useKept(list.data)?.pages;
  const events = useMemo(() => pages?.flatMap((page) => page.events) ?? [], [pages]);
  const sentences = useSentences(events);
  const histogram = useQuery({ ...histogramOptions(filters), enabled: filters.q === "" || list.data !== undefined });
  const counts = useKept(histogram.data);
  const comparison = useComparison(exploration, change, filters, counts);
  const isStale = list.isPlaceholderData || list.data === undefined;
  const selected = events.find((event) => event.id === sel);
  const total = pages?.[0]?.total ?? 0;
  const showNew = useShowNew(filters, live, scroller, exploration);
  const zoom = (from: string, to: string) => change({ from, to });
  const isWrong = wrongTerm(list.error) !== null;
  const { fetchNextPage, refetch } = list;
  const picks = usePicks(change);
  const compared = exploration.diff?.split(",");
  const loadMore = useCallback(() => void fetchNextPage(), [fetchNextPage]);
  const retry = useCallback(() => void refetch(), [refetch]);
  const isWaiting = list.isFetching && !list.isFetchingNextPage && (list.isPending || list.isPlaceholderData);
  const filter = (name: string, value: string, isExcluded: boolean) => change({ q: withTerm(exploration.q, name, value, isExcluded) });
  const close = () => {
    change({ sel: undefined }, { replace: true });
    scroller.current?.querySelector<HTMLElement>('.row[tabindex="0"]')?.focus({ preventScroll: true });
  };
  return (
    <>
      <div className={`list${sel ? "" : " wide"}`} data-hidden={exploration.hidden.join(" ")}>
        {counts && counts.buckets.length > 0 && (
          <Histogram
            counts={counts}
            onZoom={zoom}
            onZoomOut={zoomOut(exploration, change)}
            marked={selected?.occurredAt}
            isPhone={isPhone}
            {...comparison}
          >
            <TimeMenu period={exploration} change={change} />
          </Histogram>
        )}
        {!counts && !list.isError && <div className="histo waiting" aria-hidden="true" />}
        <SlowNotice
          isWaiting={isWaiting}
          hasRows={events.length > 0}
          onNarrow={exploration.from === "-24h" ? null : () => change({ from: "-24h", to: undefined })}
          onStop={() => void client.cancelQueries({ queryKey: eventsKey(filters) })}
        />
        {list.isError && !isWrong && <ErrorNotice error={list.error} onRetry={retry} />}
        {list.isPending && list.fetchStatus === "idle" && !list.isError && <Stopped onRetry={retry} />}
        {!list.isPlaceholderData && list.isSuccess && total === 0 && <NothingMatches filters={filters} change={change} />}
        <NewPill count={live.waiting} onShow={showNew} />
        <Announcer count={live.waiting} />
        {list.isPending && list.fetchStatus !== "idle" && events.length === 0 && <WaitingRows />}
        {events.length > 0 && (
          <Rows
            events={events}
            sentences={sentences}
            total={total}
            selected={sel}
            hidden={exploration.hidden}
            isStale={isStale}
            hasMore={list.hasNextPage}
            isLoadingMore={list.isFetchingNextPage}
            loadMore={loadMore}
            scroller={scroller}
            place={eventsKey(filters).join(" ")}
            isPhone={isPhone}
            picked={picks.picked}
            onPick={picks.pick}
            onCompare={picks.compare}
            onPeek={(id, options) => change({ sel: id }, { replace: options?.replace ?? sel !== undefined })}
            onOpen={(id) => void navigate({ to: "/e/$eventId", params: { eventId: id } })}
            onTrace={(id) => void navigate({ to: "/trace/$eventId", params: { eventId: id } })}
            onClose={close}
            onFilter={filter}
            onResource={({ resourceType, resourceId }) => void navigate({ to: "/r/$resourceType/$resourceId", params: { resourceType, resourceId } })}
            onActor={({ actorType, actorId }) => void navigate({ to: "/actors/$actorType/$actorId", params: { actorType, actorId } })}
          />
        )}
        <PickBar count={picks.picked.length} onCompare={picks.compare} onClear={picks.clear} />
      </div>
      {compared?.[0] && compared[1] && (
        <CompareDialog ids={[compared[0], compared[1]]} onClose={() => change({ diff: undefined }, { replace: true })} />
      )}
      {sel && (
        <Peek
          key={sel}
          id={sel}
          known={selected}
          sentence={sentences.get(sel)}
          onClose={close}
          onFilter={filter}
        />
      )}
    </>
  );
}

/** The events that are chosen to be compared: the last two, in a list that stays as it is. */
function usePicks(change: Change) {
  const [picked, setPicked] = useState<readonly string[]>([]);
  return {
    picked,
    pick: (id: string) => setPicked((ids) => (ids.includes(id) ? ids.filter((each) => each !== id) : [...ids, id].slice(-2))),
    compare: () => picked.length === 2 && change({ diff: picked.join(",") }, { replace: true }),
    clear: () => setPicked([]),
  };
}

/** The period before the one that is shown, if the reader compares. */
function useComparison({ compares }: Exploration, change: Change, filters: Filters, counts: Counts | undefined) {
  const before = useMemo(() => (counts ? periodBefore(counts, Date.now()) : null), [counts]);
  const { data } = useQuery(beforeOptions(filters, compares ? before : null, counts?.interval ?? ""));
  return {
    compares,
    before: compares && before && data ? { counts: data, shiftMs: before.shiftMs } : null,
    onCompare: before && ((next: boolean) => change({ compares: next }, { replace: true })),
  };
}

/** The last value that there was: what a reader sees stays until there is something else to see. */
function useKept<Value>(value: Value | undefined): Value | undefined {
  const kept = useRef(value);
  if (value !== undefined) kept.current = value;
  return kept.current;
}

function Stopped({ onRetry }: { onRetry: () => void }) {
  return (
    <div className="state">
      <p className="b">Stopped</p>
      <p className="t2">The query was stopped before its answer came.</p>
      <button className="btn o" onClick={onRetry}>
        Try again
      </button>
    </div>
  );
}

/** The sentence of each event; a failure is named like the start of its run. */
function useSentences(events: readonly LogEvent[]): ReadonlyMap<string, FullSentence> {
  const words = useWords();
  const cache = useRef(new WeakMap<LogEvent, FullSentence>());
  const cachedFor = useRef(words);
  return useMemo(() => {
    if (cachedFor.current !== words) cache.current = new WeakMap();
    cachedFor.current = words;
    if (words === undefined) return new Map();
    const pairs = events.map((event) => {
      const sentence = cache.current.get(event) ?? sentenceOfEvent(event, words);
      cache.current.set(event, sentence);
      return [event, sentence] as const;
    });
    return new Map(namedFailures(pairs).map((sentence, index) => [events[index]?.id ?? "", sentence]));
  }, [events, words]);
}

const REFRESH_MS = 1_000;
const COUNTS_MS = 5_000;

/**
 * Shows what has arrived: by itself while the reader looks at the top and does nothing, else when asked. The list is
 * read anew, so that order and total are those of the log, and its further pages are let go.
 */
function useShowNew(filters: Filters, live: Live, scroller: React.RefObject<HTMLDivElement | null>, exploration: Exploration): () => void {
  const client = useQueryClient();
  const isBusy = useRef(false);
  const countedAt = useRef(0);
  const show = useCallback(
    async (toTop: boolean) => {
      if (isBusy.current) return;
      isBusy.current = true;
      try {
        live.took();
        const page = await readPage(filters, null);
        client.setQueryData(eventsOptions(filters).queryKey, { pages: [page], pageParams: [null] });
        if (toTop) scroller.current?.scrollTo({ top: 0 });
        if (Date.now() - countedAt.current > COUNTS_MS) {
          countedAt.current = Date.now();
          void client.invalidateQueries({ queryKey: ["events", "histogram"], refetchType: "active" });
          void client.invalidateQueries({ queryKey: ["events", "facets"], refetchType: "active" });
        }
      } catch {
        // The next arrival tries again.
      } finally {
        isBusy.current = false;
      }
    },
    [client, filters, live, scroller],
  );
  const latest = useRef(show);
  latest.current = show;
  const mayShow = live.waiting > 0 && exploration.live && exploration.sel === undefined;
  useEffect(() => {
    if (!mayShow) return;
    const timer = setInterval(() => {
      const list = scroller.current;
      const isReading = list !== null && (list.scrollTop > 8 || list.matches(":hover") || list.contains(document.activeElement));
      if (!isReading && document.visibilityState === "visible") void latest.current(false);
    }, REFRESH_MS);
    return () => clearInterval(timer);
  }, [mayShow, scroller]);
  return () => void show(true);
}

const ANNOUNCED_MS = 10_000;

/** Says how many events wait, at most every ten seconds. */
function Announcer({ count }: { count: number }) {
  const [text, setText] = useState("");
  const latest = useRef(count);
  latest.current = count;
  useEffect(() => {
    const timer = setInterval(() => setText(latest.current > 0 ? `${latest.current} new events` : ""), ANNOUNCED_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <div className="visually-hidden" role="status">
      {text}
    </div>
  );
}

function zoomOut({ from, to }: Exploration, change: Change): (() => void) | null {
  const [start, end] = [Date.parse(from ?? ""), Date.parse(to ?? "")];
  if (Number.isNaN(start) || Number.isNaN(end)) return null;
  const half = Math.max(1_000, (end - start) / 2);
  return () => change({ from: instant(start - half), to: instant(end + half) });
}
