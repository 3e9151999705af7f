import type { ReactNode } from "react";
import { useSession } from "../session/session";

/** The bar on top of a page: the tenant, then what the page puts there. */
export function Bar({ children }: { children?: ReactNode }) {
  const session = useSession();
  return (
    <header className="bar">
      <span className="tenant">{session?.tenantId ?? ""}</span>
      {children}
    </header>
  );
}
