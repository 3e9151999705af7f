import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useEffect, useMemo } from "react";
import { Bar } from "../frame/Bar";
import { visible } from "../common/visible";
import { BarTools } from "../frame/Screen";
import type { Search } from "../common/search";
import { Empty, ErrorState, Loading } from "../common/states";
import { useTrace } from "./answers";
import "../explore/explore.css";
import "../event/event.css";
import "./trace.css";
import { at, buildGraph, isFailure, type Graph } from "./graph";
import { useArrivals } from "./live";
import { TraceBody } from "./TraceBody";
import { partsOf, withoutMiddle } from "./words";

/** Why an event happened, and what came of it. */
export function TracePage() {
  const { eventId = "" } = useParams({ strict: false });
  const search = useSearch({ strict: false }) as Search;
  const query = useTrace(eventId);
  const trace = query.data;
  const graph = useMemo(() => (trace === undefined ? null : buildGraph(trace)), [trace]);
  const flows = useMemo(() => (graph === null ? [] : [...new Set(graph.nodes.map((node) => node.correlationId))]), [graph]);
  const arrived = useArrivals(flows, () => query.refetch());
  const title = graph === null || graph.nodes.length === 0 ? "Why" : titleOf(graph);
  useEffect(() => {
    document.title = `${title} · Whence`;
  }, [title]);
  return (
    <>
      <Bar>
        <Crumbs flow={flows.length > 0 && graph !== null ? at(graph.nodes, graph.focus).correlationId : null} title={title} />
        <BarTools />
      </Bar>
      {query.isError && trace === undefined ? <ErrorState error={query.error} retry={() => void query.refetch()} /> : null}
      {query.isPending ? <Loading rows={12} /> : null}
      {trace !== undefined && graph !== null && graph.nodes.length === 0 ? <Empty title="This trace is empty." /> : null}
      {trace !== undefined && graph !== null && graph.nodes.length > 0 ? (
        <TraceBody key={trace.eventId} trace={trace} graph={graph} search={search} arrived={arrived} />
      ) : null}
    </>
  );
}

function titleOf(graph: Graph): string {
  const node = at(graph.nodes, graph.focus);
  const parts = partsOf(node);
  const name = (text: string) => withoutMiddle(text, 60);
  if (isFailure(node)) return `Why ${name(parts.object || parts.actor)} failed`;
  return `Why ${[name(parts.actor), parts.verb, name(parts.object)].filter((part) => part !== "").join(" ")}`;
}

function Crumbs({ flow, title }: { flow: string | null; title: string }) {
  const navigate = useNavigate();
  return (
    <>
      <button className="btn sq phone-only" aria-label="Back" onClick={() => (history.length > 1 ? history.back() : void navigate({ to: "/flows", search: {} }))}>
        <svg className="i" viewBox="0 0 16 16" aria-hidden="true">
          <path d="m9.5 4-4 4 4 4" />
        </svg>
      </button>
      <nav className="crumb grow" aria-label="Where this is">
        <span className="wide-only">/</span>
        <Link className="wide-only" to="/flows" search={{}}>
          Flows
        </Link>
        {flow !== null && (
          <>
            <span className="wide-only">/</span>
            <span className="mono cut flow">{visible(flow)}</span>
          </>
        )}
        <span className="wide-only">/</span>
        <b className="cut wide-only">{title}</b>
      </nav>
    </>
  );
}
