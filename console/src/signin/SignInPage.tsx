import { useQueryClient } from "@tanstack/react-query";
import { useRouter, useSearch } from "@tanstack/react-router";
import { useEffect, useState, type FormEvent } from "react";
import { ApiError, ROOT } from "../api/client";
import { useTitle } from "../frame/Screen";
import type { Search } from "../common/search";
import { readTenants, redeem, signIn } from "../session/session";
import { Icon, Logo } from "../common/icons";
import { placeAfter, takeCode } from "./code";
import { TenantList } from "./TenantList";
import "../common/screens.css";
import "./signin.css";

// A code is good for one redemption, so it is taken once for the page and not once for each rendering.
let arrived: string | null = takeCode();

function sentence(error: unknown, what: "key" | "link"): string {
  if (!(error instanceof ApiError)) return "Something unexpected happened. Try again.";
  if (error.status === 401 && what === "key") return "This key is not known here. Check that it was copied whole and is for this server.";
  if (error.status === 401 || error.status === 404 || error.status === 410)
    return "This link was used before or is older than a minute. Ask for a new one with `whence open`, or sign in with a key.";
  if (error.status === 429) return `Too many attempts. Try again in ${error.retryAfterS ?? "a few"} s.`;
  return error.message;
}

/** Why the issuer's sign-in led back here. */
const FAILURES: Record<string, string> = {
  state: "The sign-in took too long, or was begun in another window. Try again.",
  denied: "The identity provider did not let you in.",
  refused: "The identity provider knows you, but its answer gives you no tenant or no scopes here. Ask who runs this log.",
  unavailable: "The identity provider cannot be reached at the moment. Try again later, or sign in with a key.",
};

/** Where a sign-in by the operator's identity provider begins, if there is one. */
const ISSUER = document.querySelector<HTMLMetaElement>("meta[name=oidc]")?.content;

/** Signs in with an API key, with the code of a link, or by the operator's identity provider. */
export function SignInPage() {
  useTitle("Sign in");
  const client = useQueryClient();
  const router = useRouter();
  const { back, failed } = useSearch({ strict: false }) as Search;
  const [key, setKey] = useState("");
  const [operatorsKey, setOperatorsKey] = useState<string | null>(null);
  const [busy, setBusy] = useState(arrived !== null);
  const [wrong, setWrong] = useState<string | null>(failed === undefined ? null : (FAILURES[failed] ?? null));

  async function arrive() {
    await client.resetQueries();
    router.history.push(ROOT.replace(/\/$/, "") + placeAfter(back));
  }

  async function enter(how: () => Promise<void>, what: "key" | "link", text?: string) {
    setBusy(true);
    setWrong(null);
    try {
      await how();
      await arrive();
    } catch (error) {
      if (text !== undefined && (await isOperators(text, error))) {
        setOperatorsKey(text);
        setKey("");
        setBusy(false);
        return;
      }
      setWrong(sentence(error, what));
      setBusy(false);
    }
  }

  useEffect(() => {
    function follow() {
      const code = arrived ?? takeCode();
      arrived = null;
      if (code !== null) void enter(() => redeem(code), "link");
    }
    follow();
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);

  function submit(event: FormEvent) {
    event.preventDefault();
    const text = key.trim();
    if (text === "") setWrong("Enter an API key. It begins with whk_.");
    else void enter(() => signIn(text), "key", text);
  }

  return (
    <div className="signin">
      <main>
        <div className="fx g2 brand">
          <Logo />
          <span>Whence</span>
        </div>
        {operatorsKey !== null ? (
          <Choice apiKey={operatorsKey} onOpened={() => void arrive()} onBack={() => setOperatorsKey(null)} />
        ) : (
          <form className="card" onSubmit={submit} aria-busy={busy}>
            <h1>Sign in</h1>
            <p className="t2">
              to the log at <span className="mono">{location.host}</span>
            </p>
            <KeyField value={key} onChange={setKey} wrong={wrong} />
            <button className="btn p" disabled={busy}>
              {busy ? "Signing in…" : "Sign in"}
            </button>
            {ISSUER && (
              <a className="btn o issuer" href={`${ROOT}${ISSUER}?back=${encodeURIComponent(placeAfter(back))}`}>
                <Icon name="key" />
                Continue with your identity provider
              </a>
            )}
          </form>
        )}
        <p className="xs t3 after">
          The key is exchanged for a session cookie that scripts cannot read. It decides the tenant and what you see.
        </p>
      </main>
    </div>
  );
}

/** Whether a key was refused because it is an operator's, which opens tenants and has no log of its own. */
async function isOperators(apiKey: string, error: unknown): Promise<boolean> {
  if (!(error instanceof ApiError) || error.status !== 403) return false;
  return (await readTenants(apiKey).catch(() => null))?.anyTenant ?? false;
}

/** The tenants that an operator's key opens. The key is kept until one is chosen, and nowhere but in this page. */
function Choice({ apiKey, onOpened, onBack }: { apiKey: string; onOpened: () => void; onBack: () => void }) {
  return (
    <div className="card choice">
      <h1>Which tenant?</h1>
      <p className="t2">This is an operator&rsquo;s key. The menu at the top left changes the tenant later.</p>
      <TenantList apiKey={apiKey} onOpened={onOpened} />
      <button type="button" className="btn o" onClick={onBack}>
        Use another key
      </button>
    </div>
  );
}

/** The field of the key, with what it is or what was wrong with it. */
function KeyField({ value, onChange, wrong }: { value: string; onChange: (value: string) => void; wrong: string | null }) {
  const [shown, setShown] = useState(false);
  return (
    <>
      <label htmlFor="key">API key</label>
      <div className="field">
        <input
          id="key"
          name="key"
          className="mono"
          type={shown ? "text" : "password"}
          value={value}
          onChange={(event) => onChange(event.target.value)}
          autoComplete="current-password"
          autoCapitalize="off"
          spellCheck={false}
          autoFocus
          placeholder="whk_…"
          aria-invalid={wrong !== null}
          aria-describedby={wrong === null ? "key-hint" : "key-wrong"}
        />
        <button type="button" className="btn" aria-pressed={shown} onClick={() => setShown(!shown)}>
          {shown ? "Hide" : "Show"}
        </button>
      </div>
      {wrong === null ? (
        <p className="xs t3 hint" id="key-hint">
          Printed once when the server first ran. Or <span className="mono nw">whence profile show --key</span>.
        </p>
      ) : (
        <p className="xs hint wrong" id="key-wrong" role="alert">
          <Icon name="warning" small />
          {wrong}
        </p>
      )}
    </>
  );
}
