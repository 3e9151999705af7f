import { useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useCallback, useEffect, useMemo, useState } from "react";
import type { Search } from "../common/search";
import { useWidthAtMost } from "../explore/media";
import { useShortcuts } from "../common/shortcuts";
import { Empty, Loading } from "../common/states";
import { counted } from "../common/times";
import { BlastBar } from "./BlastBar";
import type { View } from "./entries";
import { COLUMN_PX } from "./Gutter";
import { at, type Graph, type Trace } from "./graph";
import { GRAPH_MAX } from "./limits";
import type { LaneOf } from "./lanes";
import { LanesView } from "./LanesView";
import { Lead } from "./Lead";
import { useHeights, usePhone } from "./media";
import { nodeOf, placeOf, stepFrom, type Step } from "./navigate";
import { Overview } from "./Overview";
import { PlayStrip } from "./PlayStrip";
import { buildRows, isOpen, type Row } from "./rows";
import { causeTotals, effectTotals, summaryOf } from "./summary";
import { markdownTimeline, mermaidTimeline } from "./timeline";
import { TracePeek } from "./TracePeek";
import type { Tree } from "./TreeRow";
import { TreeView } from "./TreeView";
import { usePlay, type Play } from "./usePlay";
import { ViewBar, type ViewName } from "./ViewBar";
import { totalWords } from "./words";
import { ABSENT, useAbsence } from "../event/absence";

const GraphView = lazy(() => import("./GraphView"));

interface Props {
  trace: Trace;
  graph: Graph;
  search: Search;
  arrived: number;
}

const NO_FOLDS: ReadonlySet<string> = new Set();

export function TraceBody({ trace, graph, search, arrived }: Props) {
  const isPhone = usePhone();
  const heights = useHeights();
  const covers = useWidthAtMost(1099);
  const { rows, mode, fold, unfoldAll, toggleAll } = useRows(graph, trace, search, isPhone);
  const cursor = useCursor(rows, graph, fold);
  const [peeks, setPeeks] = useState(!covers);
  const changeSearch = useChangeSearch(trace.eventId, search);
  const tree = useTree({ graph, trace, isPhone, mode, fold });
  const select = useCallback(
    (index: number) => {
      const row = at(rows, index);
      if (row.kind === "fold") fold(row.key);
      else if (row.nodes.length > 0) setPeeks(true);
      cursor.toRow(index);
    },
    [rows, fold, cursor.toRow],
  );
  const peekAt = (one: number) => {
    cursor.toNode(one);
    setPeeks(true);
  };
  const view = (search.view === "lanes" || search.view === "graph" ? search.view : "tree") satisfies ViewName;
  const play = usePlay(graph);
  useTraceKeys({ rows, graph, cursor, search, changeSearch, select, closePeek: () => setPeeks(false), peeks, play });
  const absence = useAbsence(trace.missing.length > 0);
  const clauses = useMemo(() => summaryOf(graph, trace, ABSENT[absence]), [graph, trace, absence]);
  const timeline = (form: "markdown" | "mermaid") =>
    form === "markdown" ? markdownTimeline(rows, graph, trace, location.href, ABSENT[absence]) : mermaidTimeline(rows, graph);
  const shown = { graph, rows, heights, cursor: cursor.index, target: cursor.target, onSelect: select, lookOf: play.lookOf };
  const node = cursor.index >= 0 ? nodeOf(at(rows, cursor.index), graph) : graph.focus;
  return (
    <>
      <Lead clauses={clauses} eventId={trace.eventId} search={search} onNode={(id) => cursor.toNode(graph.byId.get(id) ?? graph.focus)} />
      <Overview graph={graph} trace={trace} onNode={cursor.toNode} played={play.node} />
      <ViewBar
        eventId={trace.eventId}
        search={search}
        view={view}
        failures={trace.summary.failures}
        effects={at(graph.nodes, graph.focus).allEffects}
        isLowerBound={trace.atLeast}
        isPhone={isPhone}
        unfoldAll={unfoldAll}
        onUnfoldAll={toggleAll}
        timeline={timeline}
        play={play}
        strip={<PlayStrip play={play} graph={graph} onNode={cursor.toNode} />}
      />
      {mode === "blast" && <BlastBar graph={graph} isLowerBound={trace.atLeast} />}
      <div className="work tw">
        {view === "tree" && <TreeView {...shown} tree={tree} />}
        {view === "lanes" && (
          <LanesView {...shown} isPhone={isPhone} by={laneOf(search)} onBy={(by) => changeSearch({ by: by === "actor" ? undefined : by })} />
        )}
        {view === "graph" && <SmallGraph graph={graph} trace={trace} selected={node} onNode={(one) => peekAt(one)} />}
        {peeks && <TracePeek graph={graph} node={node} onClose={() => setPeeks(false)} />}
      </div>
      <Arrivals count={arrived} />
    </>
  );
}

/** Says to screen readers how many events came, and no more. */
function Arrivals({ count }: { count: number }) {
  return (
    <p className="visually-hidden" role="status">
      {count > 0 ? `${counted(count, "new event")} in this flow` : ""}
    </p>
  );
}

/** The rows as the address and the folds that the reader opened have them. */
function useRows(graph: Graph, trace: Trace, search: Search, isPhone: boolean) {
  const [unfolded, setUnfolded] = useState<ReadonlySet<string>>(NO_FOLDS);
  const [unfoldAll, setUnfoldAll] = useState(false);
  const mode: View["mode"] = search.only === "failures" ? "failures" : search.blast === "1" ? "blast" : "all";
  const rows = useMemo(
    () => buildRows(graph, trace, { mode, above: isPhone ? 2 : 9, unfoldAll, unfolded }),
    [graph, trace, mode, isPhone, unfoldAll, unfolded],
  );
  const fold = useCallback((key: string) => setUnfolded((keys) => toggled(keys, key)), []);
  return { rows, mode, fold, unfoldAll, toggleAll: () => setUnfoldAll((all) => !all) };
}

const laneOf = (search: Search): LaneOf => (search.by === "resource" ? "resource" : "actor");

function toggled(keys: ReadonlySet<string>, key: string): ReadonlySet<string> {
  const next = new Set(keys);
  if (!next.delete(key)) next.add(key);
  return next;
}

function SmallGraph({ graph, trace, selected, onNode }: { graph: Graph; trace: Trace; selected: number; onNode: (node: number) => void }) {
  const rows = useMemo(() => buildRows(graph, trace, { mode: "all", above: 9, unfoldAll: true, unfolded: NO_FOLDS }), [graph, trace]);
  if (graph.nodes.length > GRAPH_MAX) {
    return (
      <div className="tt">
        <Empty title={`The graph is drawn up to ${counted(GRAPH_MAX, "event")}.`}>
          <p className="t2">This trace has {counted(graph.nodes.length, "event")}. The tree and the lanes show all of them.</p>
        </Empty>
      </div>
    );
  }
  return (
    <Suspense fallback={<Loading />}>
      <GraphView graph={graph} rows={rows} selected={selected} onNode={onNode} />
    </Suspense>
  );
}

/** What the rows of the tree need beside themselves. */
function useTree({ graph, trace, isPhone, mode, fold }: { graph: Graph; trace: Trace; isPhone: boolean; mode: View["mode"]; fold: (key: string) => void }): Tree {
  const absence = useAbsence(trace.missing.length > 0);
  const nowMs = useNow(useMemo(() => graph.nodes.some((_, index) => isOpen(graph, index)), [graph]));
  return useMemo(() => {
    const causes = causeTotals(graph, trace);
    const effects = effectTotals(graph, trace);
    const beside = graph.relations.filter((relation) => relation === "beside").length;
    const ledTo = effects.count === 0 ? (trace.atLeast ? "not read" : "nothing so far") : totalWords(effects, "event");
    return {
      graph,
      isLowerBound: trace.atLeast,
      absence,
      isPhone,
      isBlast: mode === "blast",
      columnPx: isPhone ? 12 : COLUMN_PX,
      because: totalWords(causes, "cause") + (beside > 0 ? ` · ${counted(beside, "event")} beside` : ""),
      ledTo,
      nowMs,
      onFold: fold,
    };
  }, [graph, trace, absence, isPhone, mode, nowMs, fold]);
}

/** The time, every second as long as something is going on. */
function useNow(isTicking: boolean): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!isTicking) return;
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [isTicking]);
  return now;
}

function useChangeSearch(eventId: string, search: Search): (change: Search) => void {
  const navigate = useNavigate();
  return (change) => void navigate({ to: "/trace/$eventId", params: { eventId }, search: { ...search, ...change }, replace: true });
}

interface Cursor {
  index: number;
  target: { row: number; turn: number };
  toRow: (index: number) => void;
  /** Goes to a node, and opens the folds that it is in. */
  toNode: (node: number) => void;
}

/** Which row is selected. It begins at the event that the trace is about, and stays on its row when rows come or fold. */
function useCursor(rows: readonly Row[], graph: Graph, fold: (key: string) => void): Cursor {
  const [key, setKey] = useState<string>(() => at(graph.nodes, graph.focus).id);
  const [wanted, setWanted] = useState<number | null>(null);
  const [target, setTarget] = useState(() => ({ row: placeOf(rows, graph.focus)?.row ?? -1, turn: 1 }));
  const index = useMemo(() => {
    const found = rows.findIndex((row) => row.key === key);
    if (found >= 0) return found;
    return placeOf(rows, graph.byId.get(key) ?? graph.focus)?.row ?? -1;
  }, [rows, key, graph]);
  const toRow = useCallback(
    (next: number) => {
      const row = rows[next];
      if (row === undefined) return;
      setKey(row.key);
      setTarget((last) => ({ row: next, turn: last.turn + 1 }));
    },
    [rows],
  );
  useEffect(() => {
    if (wanted === null) return;
    const place = placeOf(rows, wanted);
    if (place !== null && place.fold !== null) {
      fold(place.fold);
      return;
    }
    if (place !== null) toRow(place.row);
    setWanted(null);
  }, [wanted, rows, fold, toRow]);
  return { index, target, toRow, toNode: setWanted };
}

interface KeyProps {
  rows: readonly Row[];
  graph: Graph;
  cursor: Cursor;
  search: Search;
  changeSearch: (change: Search) => void;
  select: (index: number) => void;
  peeks: boolean;
  closePeek: () => void;
  play: Play;
}

function useTraceKeys({ rows, graph, cursor, search, changeSearch, select, peeks, closePeek, play }: KeyProps): void {
  const navigate = useNavigate();
  const go = (step: Step) => (event: KeyboardEvent) => {
    event.preventDefault();
    const next = stepFrom(rows, graph, cursor.index, step);
    if (next === null) return;
    if ("row" in next) cursor.toRow(next.row);
    else cursor.toNode(next.node);
  };
  const row = rows[cursor.index];
  const open = (event: KeyboardEvent) => {
    if (event.target instanceof Element && event.target.closest("a,button,[role=menu]") !== null) return;
    if (row === undefined) return;
    if (row.kind === "event") void navigate({ to: "/e/$eventId", params: { eventId: at(graph.nodes, nodeOf(row, graph)).id }, search: {} });
    else select(cursor.index);
  };
  const why = () => {
    if (row !== undefined) void navigate({ to: "/trace/$eventId", params: { eventId: at(graph.nodes, nodeOf(row, graph)).id }, search: {} });
  };
  useShortcuts("Trace", [
    { keys: "j", does: "next row", run: go("next") },
    { keys: "k", does: "row before", run: go("previous") },
    { keys: "ArrowDown", does: "next row", run: onGrid(go("next")) },
    { keys: "ArrowUp", does: "row before", run: onGrid(go("previous")) },
    { keys: "Home", does: "first row", run: onGrid(go("first")) },
    { keys: "End", does: "last row", run: onGrid(go("last")) },
    { keys: "Enter", does: "open the event, or unfold", run: open },
    { keys: "w", does: "why this one: its own trace", run: why },
    { keys: "[", does: "its cause", run: go("cause") },
    { keys: "]", does: "its first effect", run: go("effect") },
    { keys: "Shift+{", does: "the sibling before", run: go("previousSibling") },
    { keys: "Shift+}", does: "the next sibling", run: go("nextSibling") },
    { keys: "e", does: "all effects: the blast radius", run: () => changeSearch({ blast: search.blast === "1" ? undefined : "1", only: undefined }) },
    { keys: "p", does: "play it in the order of time, or pause", run: play.toggle },
    { keys: ".", does: "one step on", run: () => play.step(1) },
    { keys: ",", does: "one step back", run: () => play.step(-1) },
    { keys: "Escape", does: "end playing, or close the peek", run: () => (play.node === null ? peeks && closePeek() : play.end()) },
  ]);
}

/** Only while the rows have the focus, since the page scrolls by these keys too. */
function onGrid(run: (event: KeyboardEvent) => void): (event: KeyboardEvent) => void {
  return (event) => {
    if (event.target instanceof Element && event.target.closest("[role=treegrid]") !== null) run(event);
  };
}
