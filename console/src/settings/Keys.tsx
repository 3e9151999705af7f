import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { api, data, type Schemas } from "../api/client";
import type { Search } from "../common/search";
import { Confirm } from "../common/Confirm";
import { OnceShown } from "../common/Copy";
import { Failed, FieldError } from "../common/Failed";
import { Icon } from "../common/icons";
import { Modal } from "../common/Modal";
import { NeedsScope } from "../common/NeedsScope";
import { usePages } from "../common/paging";
import { ErrorState, Loading } from "../common/states";
import { When } from "../common/When";
import { expiryOf, keyState, LIFETIMES, scopesOf, type ScopeFields } from "./keys";

type Key = Schemas["Key"];

/** The API keys of the tenant. */
export function Keys() {
  const navigate = useNavigate();
  const { new: making } = useSearch({ strict: false }) as Search;
  const [made, setMade] = useState<Schemas["CreatedKey"] | null>(null);
  const show = (isNew: boolean) => void navigate({ to: "/settings", search: { tab: "keys", ...(isNew && { new: "1" }) } });
  return (
    <NeedsScope scope="admin" to="see or make API keys">
      <div className="page-head">
        <p className="t2 grow">A key decides the tenant, and what its holder may do. Only its hash is kept, so it is shown once.</p>
        <button type="button" className="btn p" onClick={() => show(true)}>
          <Icon name="plus" />
          New key
        </button>
      </div>
      <List />
      {making === "1" && (
        <Modal title="New API key" onClose={() => show(false)}>
          <KeyForm
            onDone={(key) => {
              setMade(key);
              show(false);
            }}
          />
        </Modal>
      )}
      {made && (
        <Modal title="The key is made" onClose={() => setMade(null)}>
          <div className="stack">
            <p className="t2">
              {made.name && <span className="b">{made.name} </span>}may {made.scopes.join(", ")}.
            </p>
            <OnceShown secret={made.key} what="key" />
            <p className="xs t3">For the commands and the SDK:</p>
            <pre className="code">{`export WHENCE_URL=${location.origin} WHENCE_API_KEY=…`}</pre>
          </div>
        </Modal>
      )}
    </NeedsScope>
  );
}

function List() {
  const pages = usePages<Schemas["Keys"]>("api/v1/keys", { limit: 100 });
  if (pages.isPending) return <Loading rows={4} />;
  if (pages.isError) return <ErrorState error={pages.error} />;
  const keys = pages.data.pages.flatMap(({ body }) => body.keys);
  return (
    <div className="scroll">
      <table className="wide-rows">
        <thead>
          <tr>
            <th>Name</th>
            <th>May</th>
            <th>State</th>
            <th className="only-wide">Made</th>
            <th className="only-wide">Last used</th>
            <th>
              <span className="visually-hidden">Revoke</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => (
            <KeyRow key={key.id} apiKey={key} />
          ))}
        </tbody>
      </table>
      {pages.hasNextPage && (
        <button type="button" className="btn o" onClick={() => void pages.fetchNextPage()}>
          Show more
        </button>
      )}
    </div>
  );
}

const TAGS = { active: "tag ok", expired: "tag", revoked: "tag" } as const;

function KeyRow({ apiKey }: { apiKey: Key }) {
  const client = useQueryClient();
  const state = keyState(apiKey, new Date());
  return (
    <tr>
      <td>
        <span className="m">{apiKey.name || "without a name"}</span>
        <br />
        <span className="mono xs t3 only-wide">{apiKey.id}</span>
      </td>
      <td style={{ whiteSpace: "normal" }}>
        <span className="chips">
          {apiKey.scopes.map((scope) => (
            <span key={scope} className="tag mono">
              {scope}
            </span>
          ))}
        </span>
      </td>
      <td>
        <span className={TAGS[state]}>{state}</span>
        {state === "active" && apiKey.expiresAt && (
          <span className="xs t3 only-wide">
            {" "}
            until <When at={apiKey.expiresAt} />
          </span>
        )}
      </td>
      <td className="xs t2 only-wide">
        <When at={apiKey.createdAt} />
      </td>
      <td className="xs t2 only-wide">{apiKey.lastUsedAt ? <When at={apiKey.lastUsedAt} /> : "never"}</td>
      <td className="r">
        {state === "active" && (
          <Confirm
            label="Revoke"
            title={`Revoke ${apiKey.name || apiKey.id}?`}
            action="Revoke"
            run={async () => {
              await data(api.DELETE("/api/v1/keys/{key_id}", { params: { path: { key_id: apiKey.id } } }));
              await client.invalidateQueries({ queryKey: ["api/v1/keys"] });
            }}
          >
            From now on it is refused everywhere. Sessions that were made with it end, and its webhooks and alert rules stand still until another key takes them
            over. This cannot be undone.
          </Confirm>
        )}
      </td>
    </tr>
  );
}

function KeyForm({ onDone }: { onDone: (key: Schemas["CreatedKey"]) => void }) {
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [fields, setFields] = useState<ScopeFields>({ read: "all", types: "", write: false, admin: false });
  const [lifetime, setLifetime] = useState("");
  const making = useMutation({
    mutationFn: () => {
      const expiresAt = expiryOf(lifetime, new Date());
      const body = { scopes: scopesOf(fields) as Schemas["NewKey"]["scopes"], name: name.trim(), ...(expiresAt && { expiresAt }) };
      return data(api.POST("/api/v1/keys", { body }));
    },
    onSuccess: async (key) => {
      await client.invalidateQueries({ queryKey: ["api/v1/keys"] });
      onDone(key);
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    making.mutate();
  }
  return (
    <form className="form" onSubmit={submit}>
      <div>
        <label htmlFor="key-name">Name</label>
        <input id="key-name" value={name} onChange={(event) => setName(event.target.value)} placeholder="What it is for" />
        <FieldError error={making.error} name="name" />
      </div>
      <Scopes fields={fields} onChange={setFields} />
      <FieldError error={making.error} name="scopes" />
      <div>
        <label htmlFor="lifetime">Expires</label>
        <select id="lifetime" value={lifetime} onChange={(event) => setLifetime(event.target.value)}>
          {LIFETIMES.map(([value, words]) => (
            <option key={value} value={value}>
              {words}
            </option>
          ))}
        </select>
      </div>
      <Failed error={making.error} fields={["name", "scopes"]} />
      <div className="acts">
        <button className="btn p" disabled={making.isPending}>
          Make the key
        </button>
      </div>
    </form>
  );
}

function Scopes({ fields, onChange }: { fields: ScopeFields; onChange: (fields: ScopeFields) => void }) {
  const reads = [
    ["all", "read all events"],
    ["some", "read events of some resource types only"],
    ["none", "read nothing"],
  ] as const;
  return (
    <fieldset>
      <legend>It may</legend>
      {reads.map(([value, words]) => (
        <label key={value} className="check">
          <input type="radio" name="read" checked={fields.read === value} onChange={() => onChange({ ...fields, read: value })} />
          {words}
        </label>
      ))}
      {fields.read === "some" && (
        <input aria-label="Resource types" className="mono" value={fields.types} onChange={(event) => onChange({ ...fields, types: event.target.value })} placeholder="action_run, decision" />
      )}
      <label className="check">
        <input type="checkbox" checked={fields.write} onChange={(event) => onChange({ ...fields, write: event.target.checked })} />
        write events
      </label>
      <label className="check">
        <input type="checkbox" checked={fields.admin} onChange={(event) => onChange({ ...fields, admin: event.target.checked })} />
        manage keys, webhooks and alert rules
      </label>
    </fieldset>
  );
}
