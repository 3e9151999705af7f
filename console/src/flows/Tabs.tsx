import { Link, useSearch } from "@tanstack/react-router";
import { periodQuery } from "../common/Period";
import type { Search } from "../common/search";

/** Flows as a list or as a map; the period stays. */
export function FlowTabs({ here }: { here: "/flows" | "/map" }) {
  const search = useSearch({ strict: false }) as Search;
  return (
    <nav className="seg" aria-label="Flows as">
      {(["/flows", "/map"] as const).map((to) => (
        <Link key={to} to={to} search={periodQuery({ from: search.from, to: search.to })} aria-current={here === to ? "page" : undefined}>
          {to === "/flows" ? "Flows" : "Map"}
        </Link>
      ))}
    </nav>
  );
}
