import { Link, useSearch } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { Screen } from "../frame/Screen";
import { open } from "../palette/open";
import type { Search } from "../common/search";
import { useSession } from "../session/session";
import { Icon } from "../common/icons";
import { setPreferences, usePreferences } from "../common/preferences";
import { Keys } from "./Keys";

export function SettingsPage() {
  const { tab } = useSearch({ strict: false }) as Search;
  return (
    <Screen title="Settings">
      <div className="tb pad set-tabs">
        <nav className="seg" aria-label="Settings">
          <Link to="/settings" search={{}} activeOptions={{ exact: true }} aria-current={tab === "keys" ? undefined : "page"}>
            This browser
          </Link>
          <Link to="/settings" search={{ tab: "keys" }} aria-current={tab === "keys" ? "page" : undefined}>
            API keys
          </Link>
        </nav>
      </div>
      <div className="body sc">{tab === "keys" ? <Keys /> : <Browser />}</div>
    </Screen>
  );
}

/** The places that have no tab of their own on a phone. */
function FurtherPlaces() {
  return (
    <ul className="only-phone places">
      {(
        [
          ["/integrity", "Integrity", "integrity"],
          ["/webhooks", "Webhooks", "webhooks"],
          ["/alerts", "Alerts", "alerts"],
        ] as const
      ).map(([to, name, icon]) => (
        <li key={to}>
          <Link to={to} search={{}} className="item fx g3">
            <Icon name={icon} />
            {name}
          </Link>
        </li>
      ))}
    </ul>
  );
}

function Choice<Value extends string>({ name, help, value, options, onChange }: {
  name: string;
  help: ReactNode;
  value: Value;
  options: readonly (readonly [Value, string])[];
  onChange: (value: Value) => void;
}) {
  return (
    <div className="choice">
      <div>
        <div className="m">{name}</div>
        <div className="t3 xs">{help}</div>
      </div>
      <span className="seg" role="group" aria-label={name}>
        {options.map(([each, words]) => (
          <button key={each} type="button" aria-pressed={value === each} onClick={() => onChange(each)}>
            {words}
          </button>
        ))}
      </span>
    </div>
  );
}

function Browser() {
  const { theme, density, zone, shortcuts } = usePreferences();
  return (
    <div className="settings">
      <FurtherPlaces />
      <Choice
        name="Theme"
        help="As the system is, or always one of them."
        value={theme}
        options={[
          ["system", "System"],
          ["light", "Light"],
          ["dark", "Dark"],
        ]}
        onChange={(value) => setPreferences({ theme: value })}
      />
      <Choice
        name="Rows"
        help="On a touch screen rows are always high enough for a finger."
        value={density}
        options={[
          ["comfortable", "Comfortable"],
          ["compact", "Compact"],
        ]}
        onChange={(value) => setPreferences({ density: value })}
      />
      <Choice
        name="Times"
        help={`Yours is ${Intl.DateTimeFormat().resolvedOptions().timeZone}. Every time shows its full form when pointed at.`}
        value={zone}
        options={[
          ["utc", "UTC"],
          ["local", "Local"],
        ]}
        onChange={(value) => setPreferences({ zone: value })}
      />
      <Choice
        name="Keyboard shortcuts"
        help={
          <>
            Single letters, such as j and k.{" "}
            <button type="button" className="link" onClick={() => open("shortcuts")}>
              Show them all
            </button>
          </>
        }
        value={shortcuts ? "on" : "off"}
        options={[
          ["on", "On"],
          ["off", "Off"],
        ]}
        onChange={(value) => setPreferences({ shortcuts: value === "on" })}
      />
      <p className="t3 xs">These are kept in this browser.</p>
      <SignedIn />
    </div>
  );
}

/** As whom one is signed in. */
function SignedIn() {
  const session = useSession();
  if (!session) return null;
  return (
    <section className="block">
      <h2 className="lab h">Signed in</h2>
      <dl className="kv">
        <dt>Tenant</dt>
        <dd>{session.tenantId}</dd>
        {session.keyName && (
          <>
            <dt>Key</dt>
            <dd>{session.keyName}</dd>
          </>
        )}
        <dt>May</dt>
        <dd className="mono">{session.scopes.join(", ")}</dd>
      </dl>
    </section>
  );
}
