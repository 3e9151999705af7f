import { useEffect, useState } from "react";
import { Icon } from "./icons";

/** A button that copies a text, and says so. */
export function Copy({ text, what = "Copy", word = false }: { text: string; what?: string; word?: boolean }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <button
      type="button"
      className={word ? "btn o" : "btn sq"}
      aria-label={word ? undefined : what}
      onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(true))}
    >
      <Icon name={copied ? "check" : "copy"} />
      {word && (copied ? "Copied" : what)}
      <span className="visually-hidden" role="status">
        {copied ? "Copied" : ""}
      </span>
    </button>
  );
}

/** A secret that is shown once. */
export function OnceShown({ secret, what }: { secret: string; what: string }) {
  return (
    <div>
      <div className="secret">
        <code>{secret}</code>
        <Copy text={secret} what={`Copy the ${what}`} />
      </div>
      <p className="xs t2" style={{ marginTop: 6 }}>
        Copy it now. The {what} is not shown again.
      </p>
    </div>
  );
}
