import { useNavigate } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { allows, useSession } from "../session/session";
import { Icon } from "./icons";

/** Its children for who has the scope; for others which scope is missing. */
export function NeedsScope({ scope, to, children }: { scope: string; to: string; children: ReactNode }) {
  const session = useSession();
  const navigate = useNavigate();
  if (!session || allows(session, scope)) return children;
  return (
    <div className="note" style={{ maxWidth: 680 }}>
      <Icon name="key" />
      <div className="grow">
        <div className="b">This key may not {to}</div>
        <div className="t2">
          It lacks the scope <span className="mono">{scope}</span> for this tenant. Ask the person who made it, or sign in with another.
        </div>
      </div>
      <div className="acts">
        <button className="btn o" onClick={() => void navigate({ to: "/login", search: { change: "1" } })}>
          Sign in
        </button>
      </div>
    </div>
  );
}
