import { useEffect, useState } from "react";
import { send } from "../api/client";
import { copyText } from "../event/clipboard";
import { allows, keyJustUsed, useSession } from "../session/session";
import { Icon } from "../common/icons";
import { firstEvent, LANGUAGES, type Language } from "./first";

/** An empty log: how to send the first event. The page turns into the explorer when it arrives. */
export function FreshLog() {
  const [language, setLanguage] = useState<Language>("curl");
  const [made, setMade] = useState<string | null>(null);
  const [used] = useState(keyJustUsed);
  const [problem, setProblem] = useState<string | null>(null);
  const session = useSession();
  const key = made ?? (allows(session, "events:write") ? used : null);
  const root = document.baseURI.replace(/\/$/, "");
  const code = firstEvent(language, root, key);
  const makeKey = async () => {
    try {
      const response = await send("api/v1/keys", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ name: "first event", scopes: ["events:write"] }),
      });
      setMade(((await response.json()) as { key: string }).key);
    } catch (error) {
      setProblem(error instanceof Error ? error.message : "The key could not be made.");
    }
  };
  return (
    <div className="fresh">
      <h1>Send the first event</h1>
      <p className="lead-in">Paste this into a terminal. The page turns into the explorer when it arrives.</p>
      <div className="card">
        <div className="fresh-head">
          <div className="seg" role="group" aria-label="Language">
            {LANGUAGES.map((each) => (
              <button key={each} aria-pressed={each === language} onClick={() => setLanguage(each)}>
                {each}
              </button>
            ))}
          </div>
          <span className="grow" />
          {key ? (
            <span className="t2 xs">{made ? "with a new key in it, shown only now" : "with your key in it"}</span>
          ) : (
            allows(session, "admin") && (
              <button className="btn" onClick={() => void makeKey()}>
                <Icon name="key" />
                Put a new key in it
              </button>
            )
          )}
          <button className="btn o" onClick={() => void copyText(code)}>
            <Icon name="copy" />
            Copy
          </button>
        </div>
        <pre tabIndex={0}>{code}</pre>
      </div>
      {problem && (
        <p className="warn-text" role="alert">
          {problem}
        </p>
      )}
      <Listening root={root} keyIs={made ? "new" : key ? "yours" : "elsewhere"} />
      <p className="fresh-foot t2">
        Or look at a full log first: <code>whence demo</code> <span>5,598 events of an airline's service agent</span>
      </p>
    </div>
  );
}

const KEY_WORDS = {
  new: "The new key belongs to this tenant.",
  yours: "The key is the one that you signed in with.",
  elsewhere: "WHENCE_API_KEY must hold a key of this tenant that may write (events:write).",
};

function Listening({ root, keyIs }: { root: string; keyIs: keyof typeof KEY_WORDS }) {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setSeconds((count) => count + 1), 1_000);
    return () => clearInterval(timer);
  }, []);
  return (
    <details className="listening">
      <summary>
        <span className="accent">
          <Icon name="live" />
        </span>
        <span>
          Listening on <span className="mono">{root}</span>
        </span>
        <span className="t2">for {seconds} s</span>
        <span className="grow" />
        <span className="link">Nothing arrives?</span>
      </summary>
      <ul>
        <li>The command must reach this address from where it runs: a container has a localhost of its own.</li>
        <li>{KEY_WORDS[keyIs]}</li>
        <li>The answer names what is wrong: 401 the key, 422 the event.</li>
      </ul>
    </details>
  );
}
