import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { counted, durationWords, grouped } from "../common/times";
import { blastOf, blastQuery } from "./blast";
import { at, type Graph } from "./graph";
import { atLeast } from "./words";

const TYPES_SHOWN = 12;

/** The effects of the selected event in figures, by type. */
export function BlastBar({ graph, isLowerBound }: { graph: Graph; isLowerBound: boolean }) {
  const blast = useMemo(() => blastOf(graph, graph.focus), [graph]);
  const node = at(graph.nodes, graph.focus);
  const isPartial = isLowerBound || blast.nodes.length < node.allEffects;
  const figures = [`${grouped(node.failuresBelow)} failed`, counted(blast.resources, "resource"), counted(blast.actors, "actor"), durationWords(blast.us)];
  return (
    <div className="blast">
      <span className="b nw">{atLeast(counted(node.allEffects, "effect"), isLowerBound)}</span>
      <span className="t2">{(isPartial ? ["of those loaded:", ...figures.slice(1)] : figures).join(" · ").replace(": ·", ":")}</span>
      <span className="types">
        {blast.types.slice(0, TYPES_SHOWN).map((type) => (
          <span key={type.eventType} className={type.failures > 0 ? "tag fail" : "tag"}>
            <span className="mono">{type.eventType}</span> ×{grouped(type.count)}
          </span>
        ))}
        {blast.types.length > TYPES_SHOWN && <span className="tag">{counted(blast.types.length - TYPES_SHOWN, "more type")}</span>}
      </span>
      <span className="grow" />
      <Link className="btn o" to="/explore" search={{ q: blastQuery(graph, graph.focus, blast) }} title="Its flow from then on">
        Open in Explore
      </Link>
    </div>
  );
}
