import { Link } from "@tanstack/react-router";
import type { MouseEvent } from "react";
import type { Search } from "../common/search";
import { ActorGlyph } from "../common/marks";
import type { Clause } from "./summary";

interface Props {
  clauses: readonly Clause[];
  eventId: string;
  search: Search;
  onNode: (id: string) => void;
}

const VIEWS: Record<"blast" | "failures", Search> = { blast: { blast: "1", only: undefined }, failures: { blast: undefined, only: "failures" } };

/** The sentence. Each clause leads to its row here; opened in another tab, to its own trace. */
export function Lead({ clauses, ...more }: Props) {
  return (
    <div className="lead">
      <p>
        {clauses.map((clause, index) => (
          <ClauseText key={index} clause={clause} {...more} />
        ))}
      </p>
    </div>
  );
}

function ClauseText({ clause, eventId, search, onNode }: { clause: Clause } & Omit<Props, "clauses">) {
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
      <Link to="/trace/$eventId" params={{ eventId }} search={{ ...search, ...VIEWS[to.view] }} replace>
        {text}
      </Link>
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
