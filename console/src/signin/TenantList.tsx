import { useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";
import { ApiError } from "../api/client";
import { Icon } from "../common/icons";
import { openTenant, readTenants } from "../session/session";
import { offerOf, restWords } from "./tenants";

const FIELD_FROM = 8;

/** The other tenants that one may open, by the session of this browser or by an operator's key; nothing without any. */
export function TenantList({ here, apiKey, onOpened }: {
  /** The tenant that is shown now. */
  here?: string;
  apiKey?: string;
  onOpened: () => void;
}) {
  const { data } = useQuery({ queryKey: ["tenants", here ?? null], queryFn: () => readTenants(apiKey), gcTime: 0 });
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState<string | null>(null);
  const field = useId();
  if (!data || (!data.anyTenant && data.names.length < 2)) return null;
  const offer = offerOf(data, typed);
  const { names, other } = offer;
  const rest = restWords(data, offer);

  async function open(name: string) {
    setBusy(true);
    setWrong(null);
    try {
      await openTenant(name, apiKey);
      onOpened();
    } catch (error) {
      setWrong(error instanceof ApiError ? error.message : "Something unexpected happened. Try again.");
      setBusy(false);
    }
  }

  return (
    <section aria-busy={busy} className="tenants">
      {here !== undefined && <hr />}
      <h2>{here === undefined ? "Tenants" : "Open another tenant"}</h2>
      {(data.anyTenant || data.names.length > FIELD_FROM) && (
        <>
          <label className="visually-hidden" htmlFor={field}>
            Find a tenant
          </label>
          <input
            id={field}
            value={typed}
            onChange={(event) => setTyped(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter") return;
              event.preventDefault();
              const text = typed.trim();
              const first = names.includes(text) ? text : (names[0] ?? other);
              if (text !== "" && first !== null && first !== here) void open(first);
            }}
            placeholder="Find a tenant"
            autoCapitalize="off"
            autoComplete="off"
            spellCheck={false}
          />
        </>
      )}
      <ul>
        {names.map((name) => (
          <li key={name}>
            <button
              type="button"
              className="item"
              disabled={busy}
              aria-current={name === here ? "true" : undefined}
              onClick={() => (name === here ? undefined : void open(name))}
            >
              <span className="cut grow">{name}</span>
              {name === here && <Icon name="check" small />}
            </button>
          </li>
        ))}
        {other !== null && (
          <li>
            <button type="button" className="item" disabled={busy} onClick={() => void open(other)}>
              <span className="cut grow">
                Open “{other}”<span className="t3">, which is not among those listed</span>
              </span>
            </button>
          </li>
        )}
      </ul>
      {rest !== "" && <p className="tenant-line t3 xs">{rest}</p>}
      {wrong !== null && (
        <p className="failed tenant-line" role="alert">
          <Icon name="warning" small />
          {wrong}
        </p>
      )}
    </section>
  );
}
