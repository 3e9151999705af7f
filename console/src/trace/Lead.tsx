import { Link } from "@tanstack/react-router";
import type { MouseEvent } from "react";
import { ActorGlyph } from "../shared/marks";
import type { Clause } from "./summary";

interface Props {
  clauses: readonly Clause[];
  onNode: (id: string) => void;
  onView: (view: "blast" | "failures") => void;
}

/** The sentence. Each clause leads to its row here; opened in another tab, to its own trace. */
export function Lead({ clauses, onNode, onView }: Props) {
  return (
    <div className="lead">
      <p>
        {clauses.map((clause, index) => (
          <ClauseText key={index} clause={clause} onNode={onNode} onView={onView} />
        ))}
      </p>
    </div>
  );
}

function ClauseText({ clause, onNode, onView }: { clause: Clause } & Omit<Props, "clauses">) {
  const { text, to, actorType, strong, failed } = clause;
  const inner = (
    <>
      {actorType !== undefined && <ActorGlyph type={actorType} />}
      <bdi>{text}</bdi>
    </>
  );
  if (to === undefined) {
    if (strong) return <b className={failed ? "fw" : undefined}>{failed ? text : <bdi>{text}</bdi>}</b>;
    return <>{text}</>;
  }
  if ("view" in to) {
    return (
      <button className="lk" onClick={() => onView(to.view)}>
        {text}
      </button>
    );
  }
  const follow = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    onNode(to.node);
  };
  return (
    <Link to="/trace/$eventId" params={{ eventId: to.node }} onClick={follow}>
      {inner}
    </Link>
  );
}
