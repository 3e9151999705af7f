import type { ReactNode } from "react";
import { TenantMenu } from "../signin/TenantMenu";

/** The bar on top of a page: the tenant's menu, then what the page puts there. */
export function Bar({ children }: { children?: ReactNode }) {
  return (
    <header className="bar">
      <TenantMenu />
      {children}
    </header>
  );
}
