import { useEffect } from "react";
import { ROOT } from "../api/client";
import { useSession } from "../session/session";
import { listOf } from "./tenants";

const CHANNEL = "whence.tenant";

/**
 * Shows another tenant, whose session has begun. The page is loaded anew, so that nothing of the former tenant is left:
 * no answer, no stream, no text in a field. Of the address only the list stays, since ids are of one tenant.
 */
export function goToTenant(): void {
  location.assign(ROOT + listOf(location.pathname.slice(ROOT.length)));
}

/** Follows the tabs that have changed the tenant: they share the session, so what this one asks next is of that tenant. */
export function useTenantOfOtherTabs(): void {
  const tenantId = useSession()?.tenantId;
  useEffect(() => {
    if (tenantId === undefined) return;
    const channel = new BroadcastChannel(CHANNEL);
    channel.onmessage = ({ data }) => {
      if (data !== tenantId) goToTenant();
    };
    channel.postMessage(tenantId);
    return () => channel.close();
  }, [tenantId]);
}
