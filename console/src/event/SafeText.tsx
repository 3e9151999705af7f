import { Fragment, useState } from "react";

/** Characters that turn the direction of text or show nothing, and those that control a terminal. */
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/u;
const SHOWN = 600;

/** Untrusted text: what would hide or turn it is shown by its code, and a long one begins with its first characters. */
export function SafeText({ text }: { text: string }) {
  const [isWhole, setWhole] = useState(false);
  const shown = isWhole || text.length <= 2 * SHOWN ? text : `${text.slice(0, SHOWN)}…`;
  return (
    <>
      <bdi className="safe">
        {shown.split(new RegExp(`(${HIDDEN.source})`, "u")).map((part, index) =>
          HIDDEN.test(part) ? (
            <span key={index} className="tag warn code-point" title="A character that cannot be seen">
              U+{(part.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}
            </span>
          ) : (
            <Fragment key={index}>{part}</Fragment>
          ),
        )}
      </bdi>
      {shown !== text && (
        <>
          {" "}
          <span className="c">{text.length.toLocaleString("en-US")} characters</span>{" "}
          <button className="link" onClick={() => setWhole(true)}>
            Show all
          </button>
        </>
      )}
    </>
  );
}
