import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { signOut, useSession, type Session } from "../session/session";
import { Icon } from "../common/icons";
import { Pop } from "../common/Pop";
import { setPreferences, usePreferences, type Preferences } from "../common/preferences";
import "../common/screens.css";
import { When } from "../common/When";
import { TenantList } from "./TenantList";
import { goToTenant } from "./tabs";

const THEMES: readonly (readonly [Preferences["theme"], string])[] = [
  ["system", "System"],
  ["light", "Light"],
  ["dark", "Dark"],
];

/** The tenant; its menu says as whom one is signed in and what that may see, opens other tenants, and signs out. */
export function TenantMenu() {
  const session = useSession();
  const { theme } = usePreferences();
  const client = useQueryClient();
  const navigate = useNavigate();
  const [opened, setOpened] = useState(false);
  async function leave() {
    await signOut(client);
    await navigate({ to: "/login", search: {} });
  }
  if (!session) return <span className="tenant" />;
  return (
    <Pop
      name="Signed in"
      className="tenant"
      onOpen={() => setOpened(true)}
      label={
        <>
          <span className="visually-hidden">Tenant </span>
          <span className="cut tenant-name">{session.tenantId}</span>
          <span className="t3">
            <Icon name="down" small />
          </span>
        </>
      }
    >
      {() => (
        <>
          <Who session={session} />
          {opened && <TenantList here={session.tenantId} onOpened={goToTenant} />}
          <hr />
          <div className="tenant-line fx g2">
            <span className="t2 grow">Theme</span>
            <span className="seg" role="group" aria-label="Theme">
              {THEMES.map(([value, name]) => (
                <button key={value} type="button" aria-pressed={theme === value} onClick={() => setPreferences({ theme: value })}>
                  {name}
                </button>
              ))}
            </span>
          </div>
          <hr />
          <button type="button" className="item" onClick={() => void navigate({ to: "/settings", search: {} })}>
            Settings
          </button>
          <button type="button" className="item" onClick={() => void leave()}>
            Sign out
          </button>
        </>
      )}
    </Pop>
  );
}

function Who({ session }: { session: Session }) {
  return (
    <>
      <h2>Tenant</h2>
      <p className="tenant-line b">{session.tenantId}</p>
      {session.keyName && <p className="tenant-line t2">with the key {session.keyName}</p>}
      <h2>May</h2>
      <p className="tenant-line scopes">
        {session.scopes.map((scope) => (
          <span key={scope} className="tag mono">
            {scope}
          </span>
        ))}
      </p>
      {session.expiresAt && (
        <p className="tenant-line t3 xs">
          Signed in until <When at={session.expiresAt} />
        </p>
      )}
    </>
  );
}
